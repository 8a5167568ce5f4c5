"""The manifest of a bundle: the stage, its recipe, and the digests of its code and inputs.

The trainer compares its code and inputs with the manifest at its start, and the code again at its end. ``pedigree
adopt`` compares the manifest with the store.
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
"""Threads that hash files: a disk is faster than one core hashes."""


class FileDigest(Spec):
    """The size of a file in bytes, and the SHA-256 of its content."""

    size: Annotated[int, Field(ge=0)]
    sha256: str


class BundleManifest(Spec):
    """The stage that a bundle trains, and its required code and inputs. It does not change the result."""

    experiment: str
    stage: str
    code: dict[str, str]
    """``module:definition`` → digest, as in the artifact's manifest."""
    config: dict[str, Any]
    """The stage's slice of the experiment, as in the artifact's manifest."""
    contents: dict[str, str]
    """Role → content digest of the input artifact."""
    sources: dict[str, str]
    """File in the code archive → SHA-256."""
    inputs: dict[str, dict[str, FileDigest]]
    """Role → file → digest, for all files that the trainer reads. Roles: ``shards``, ``tokenizer``, ``start``."""
    gates: tuple[dict[str, Any], ...] = ()
    """The gates with which the run was launched, as in the artifact's manifest."""
    git_commit: str | None = None
    git_dirty: bool | None = None

    @property
    def packages(self) -> list[str]:
        """The packages in the code archive."""
        return sorted({top(path) for path in self.sources})


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's content, as 64 hexadecimal digits. (``store.digests`` needs a package that trainers lack.)"""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def file_digests(paths: Mapping[str, Path]) -> dict[str, FileDigest]:
    """Name → size and digest of these files; several threads read them."""
    with ThreadPoolExecutor(_READERS) as threads:
        digests = threads.map(sha256_of, paths.values())
        return {
            name: FileDigest(size=path.stat().st_size, sha256=digest)
            for (name, path), digest in zip(paths.items(), digests, strict=True)
        }


def source_files(packages: list[str]) -> dict[str, Path]:
    """Path relative to the package's parent folder → file, for all files of ``packages`` except ``__pycache__``."""
    found: dict[str, Path] = {}
    for package in packages:
        folder = folder_of(package)
        inner = (path for path in [folder / f"{package}.py", *(folder / package).rglob("*")] if path.is_file())
        found |= {path.relative_to(folder).as_posix(): path for path in inner if "__pycache__" not in path.parts}
    return dict(sorted(found.items()))


def sources_digest(sources: Mapping[str, str]) -> str:
    """One digest of all source files. ``sources``: file → SHA-256."""
    return hashlib.sha256(
        "\n".join(f"{digest} {name}" for name, digest in sorted(sources.items())).encode()
    ).hexdigest()


def check_sources(manifest: BundleManifest) -> None:
    """``PedigreeError`` unless this process runs the source files in ``manifest``."""
    here = {name: sha256_of(path) for name, path in source_files(manifest.packages).items()}
    if different := sorted(
        name for name in {**here, **manifest.sources} if here.get(name) != manifest.sources.get(name)
    ):
        more = f" (and {len(different) - 1} more files)" if len(different) > 1 else ""
        raise PedigreeError(
            f"{PROJECT / different[0]}{more}: not the code of the bundle, so the run could not be adopted: remove "
            "the folder code, and start run.sh again, which unpacks it again"
        )


def changed_input(
    manifest: BundleManifest, places: Mapping[str, Path | None], rank: int = 0, ranks: int = 1
) -> str | None:
    """A message about the first input file that differs from ``manifest``; None when there is none.

    ``places``: role → the folder of that input. Every rank checks its share of the files.
    """
    mine = sorted(_files(manifest, places), key=lambda item: item[0])[rank::ranks]
    for path, wanted in mine:
        if not path.is_file():
            return f"{path} is missing"
        if (size := path.stat().st_size) != wanted.size:
            return f"{path} has {size:,} bytes instead of {wanted.size:,}"
    found = file_digests({str(number): path for number, (path, _) in enumerate(mine)})
    for (path, wanted), there in zip(mine, found.values(), strict=True):
        if there.sha256 != wanted.sha256:
            return f"{path}: its content differs from the bundle's manifest"
    return None


def _files(manifest: BundleManifest, places: Mapping[str, Path | None]) -> Iterator[tuple[Path, FileDigest]]:
    for role, files in manifest.inputs.items():
        folder = places[role]
        if folder is not None:
            yield from ((folder / name, wanted) for name, wanted in files.items())
