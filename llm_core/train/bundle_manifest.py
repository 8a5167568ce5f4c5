"""What a specification that leaves for another machine says of its home: stage, recipe, code and inputs.

The trainer compares its own code and what it reads with it, at its start and (the code) again at its end; ``pedigree
adopt`` compares it with the store that takes the run in.
"""

import hashlib
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from llm_core.errors import PedigreeError
from llm_core.experiment.base import Spec
from llm_core.loaded_code import top
from llm_core.plugins import folder_of
from llm_core.store.home import PROJECT

_READERS = 8
"""Threads that hash files: hashing is as fast as one core is, and a disk gives more."""


class FileDigest(Spec):
    """A file by its size in bytes and the SHA-256 of its content."""

    size: Annotated[int, Field(ge=0)]
    sha256: str


class BundleManifest(Spec):
    """Where a bundle was made, and of what. It decides nothing of the result; it says which result it will be."""

    experiment: str
    stage: str
    code: dict[str, str]
    """``module:definition`` → digest, as in the manifest of the stage."""
    config: dict[str, Any]
    """The slice of the experiment, as in the manifest."""
    contents: dict[str, str]
    """Role → content digest of the input."""
    sources: dict[str, str]
    """File of the code archive → SHA-256."""
    inputs: dict[str, dict[str, FileDigest]]
    """Role → file → what it holds: all that the trainer reads. The roles are ``shards``, ``tokenizer``, ``start``."""
    git_commit: str | None = None
    git_dirty: bool | None = None

    @property
    def packages(self) -> list[str]:
        """The packages in the code archive."""
        return sorted({top(path) for path in self.sources})


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's content, as 64 hexadecimal digits (``store.digests`` needs more than a bare machine has)."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def file_digests(paths: Mapping[str, Path]) -> dict[str, FileDigest]:
    """Name → size and digest of these files, which are read by several threads at once."""
    with ThreadPoolExecutor(_READERS) as threads:
        digests = threads.map(sha256_of, paths.values())
        return {
            name: FileDigest(size=path.stat().st_size, sha256=digest)
            for (name, path), digest in zip(paths.items(), digests, strict=True)
        }


def source_files(packages: list[str]) -> dict[str, Path]:
    """All files of these packages, by their path from the folder that holds them; not what Python itself caches."""
    found: dict[str, Path] = {}
    for package in packages:
        folder = folder_of(package)
        inner = (path for path in [folder / f"{package}.py", *(folder / package).rglob("*")] if path.is_file())
        found |= {path.relative_to(folder).as_posix(): path for path in inner if "__pycache__" not in path.parts}
    return dict(sorted(found.items()))


def sources_digest(sources: Mapping[str, str]) -> str:
    """One digest over file → SHA-256."""
    return hashlib.sha256(
        "\n".join(f"{digest} {name}" for name, digest in sorted(sources.items())).encode()
    ).hexdigest()


def check_sources(manifest: BundleManifest) -> None:
    """``PedigreeError`` unless this process runs the very files that ``manifest`` says."""
    here = {name: sha256_of(path) for name, path in source_files(manifest.packages).items()}
    if different := sorted(
        name for name in {**here, **manifest.sources} if here.get(name) != manifest.sources.get(name)
    ):
        more = f" (and {len(different) - 1} more files)" if len(different) > 1 else ""
        raise PedigreeError(
            f"{PROJECT / different[0]}{more}: not the code that the bundle was made with, so its run could not be "
            "taken home: remove the folder code, and start run.sh again, which unpacks it anew"
        )


def changed_input(
    manifest: BundleManifest, places: Mapping[str, Path | None], rank: int = 0, ranks: int = 1
) -> str | None:
    """What is wrong with the first input file that is not as ``manifest`` says it; ``None`` when all are.

    ``places``: role → the folder of that input. Every rank reads its share of the files.
    """
    mine = sorted(_files(manifest, places), key=lambda item: item[0])[rank::ranks]
    for path, wanted in mine:
        if not path.is_file():
            return f"{path} is missing"
        if (size := path.stat().st_size) != wanted.size:
            return f"{path} has {size:,} bytes, and the bundle was made with one of {wanted.size:,}"
    found = file_digests({str(number): path for number, (path, _) in enumerate(mine)})
    for (path, wanted), there in zip(mine, found.values(), strict=True):
        if there.sha256 != wanted.sha256:
            return f"{path}: its content is not that of the file that the bundle was made with"
    return None


def _files(manifest: BundleManifest, places: Mapping[str, Path | None]) -> Iterator[tuple[Path, FileDigest]]:
    for role, files in manifest.inputs.items():
        folder = places[role]
        if folder is not None:
            yield from ((folder / name, wanted) for name, wanted in files.items())
