"""Part functions of the tests: top-level, so that worker processes find them."""

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from llm_core.errors import PedigreeError
from llm_core.graph.job import Job
from llm_core.graph.part import InputFile, PartTask, PartWork
from llm_core.graph.results import Results
from llm_core.store.digests import file_digest


def shout(work: PartWork, mark: str) -> dict[str, Any]:
    """The input in capitals; what stands in it may do harm."""
    text = work.inputs["text"].read_text()
    if "raise" in text:
        raise PedigreeError(f"{work.name}: asked to fail")
    if "die" in text:
        os.kill(os.getpid(), signal.SIGKILL)
    if "wait" in text:
        time.sleep(60)
    print("noise on the standard output")
    sys.stdout.flush()
    target = work.out / "parts" / f"{work.name}.txt"
    target.parent.mkdir()
    target.write_text(text.upper() + mark)
    return {"characters": len(text), "worker": os.getpid()}


def shouting(folder: Path, mark: str = "!") -> list[PartTask]:
    return [
        PartTask(path.stem, shout, {"text": InputFile(path.name, path, file_digest(path))}, {"mark": mark})
        for path in sorted(folder.glob("*.txt"))
    ]


def source_parts(inputs: dict[str, list[InputFile]], folder: str, mark: str) -> list[PartTask]:
    return shouting(Path(folder), mark)


class Characters(Results):
    characters: int


def source_build(job: Job, folder: str, mark: str) -> Characters:
    parts = job.map(source_parts(job.files(), folder, mark))
    return Characters(characters=sum(part.stats["characters"] for part in parts))


def digests_of_sources(folder: str, mark: str) -> dict[str, str]:
    return {path.name: file_digest(path) for path in sorted(Path(folder).glob("*.txt"))}


def again_parts(inputs: dict[str, list[InputFile]], mark: str) -> list[PartTask]:
    return [PartTask(file.stem, shout, {"text": file}, {"mark": mark}) for file in inputs["texts"]]


def again_build(job: Job, mark: str) -> Characters:
    parts = job.map(again_parts(job.files(), mark))
    return Characters(characters=sum(part.stats["characters"] for part in parts))
