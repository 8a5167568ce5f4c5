"""Hand-made jobs and documents for tests of the data and token stages."""

from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
from xxhash import xxh3_128_hexdigest

from llm_core.data.parquet_parts import DOCUMENT
from llm_core.data.records import document_id
from llm_core.experiment.runtime import ComputeSpec
from llm_core.graph.job import Job, Runtime
from llm_core.graph.results import Results
from llm_core.store.digests import file_digest
from llm_core.store.manifest import FileRecord


def run(build: Callable[..., Results], work: Path, inputs: dict[str, Path], **config: Any) -> dict[str, Any]:
    """The results of a stage that writes into ``work / 'out'``, as they stand in a manifest."""
    (work / "out").mkdir(parents=True)
    artifacts: Any = {role: artifact(path) for role, path in inputs.items()}
    runtime = Runtime(compute=ComputeSpec(workers=1))  # parts are made right here, and no processes are started
    return build(Job("stage", "identity", artifacts, work, work / "out", runtime), **config).model_dump(mode="json")


def artifact(path: Path) -> SimpleNamespace:
    """A folder as an artifact, with the files that are in it now."""
    files = [
        FileRecord(path=file.relative_to(path).as_posix(), size=file.stat().st_size, xxh3=file_digest(file))
        for file in sorted(path.rglob("*"))
        if file.is_file()
    ]
    return SimpleNamespace(path=path, manifest=SimpleNamespace(files=files))


def documents(texts: Iterable[str], source: str = "made", origin: str = "made.jsonl") -> pl.DataFrame:
    """``texts`` as the rows of one origin."""
    rows = [(document_id(source, origin, row), text, source, origin, row, None) for row, text in enumerate(texts)]
    return pl.DataFrame(rows, schema=DOCUMENT, orient="row")


def write(folder: Path, *parts: pl.DataFrame, below: str = "parts") -> Path:
    """``folder`` as an artifact with these parts."""
    (folder / below).mkdir(parents=True, exist_ok=True)
    for number, part in enumerate(parts):
        part.write_parquet(folder / below / f"{number:05d}.parquet")
    return folder


def read(folder: Path) -> pl.DataFrame:
    """All parts in ``folder``."""
    return pl.concat([pl.read_parquet(path) for path in sorted(folder.glob("*.parquet"))])


def digests(folder: Path) -> dict[str, str]:
    """Name → digest of every file below ``folder``."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): xxh3_128_hexdigest(path.read_bytes()) for path in files}
