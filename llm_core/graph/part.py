"""Parts: the pieces of a stage's work that are built, stored and found again one by one.

A part is a pure function of its input files and settings. Its key is a hash of these and of its code. So a part is
built once, even when its stage is killed or runs again with one more source file, with any number of workers, on any
machine.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xxhash import xxh3_128_hexdigest

from llm_core.experiment.base import canonical
from llm_core.runtime_only import runtime_only
from llm_core.store.digests import source_digest, stamp


@dataclass(frozen=True)
class InputFile:
    """A file and the digest of its content. ``name``: its path in its artifact (``parts/web-000.parquet``).

    ``stamp`` is set for files outside the store: the part fails when such a file changes while it is read.
    """

    name: str
    path: Path
    digest: str
    stamp: tuple[int, ...] | None = None

    @property
    def stem(self) -> str:
        """The part's name: the file name without folder and suffix."""
        return self.path.stem

    @classmethod
    def outside(cls, name: str, path: Path) -> "InputFile":
        """A file outside the store, as it is now."""
        now = tuple(stamp(path.resolve()))  # before the digest, to detect a change in between
        return cls(name, path, source_digest(path), now)


@dataclass(frozen=True)
class PartWork:
    """The input of a part's function. ``out``: an empty folder for its files, at their paths in the artifact."""

    name: str
    inputs: Mapping[str, Path]
    settings: Mapping[str, Any]
    out: Path


@runtime_only("says what is to be made, and by which key it is found")
@dataclass(frozen=True)
class PartTask:
    """A part to build: ``function(work: PartWork, **config) -> stats``, a top-level function of the project.

    ``name`` is unique in the stage, and names the files of the part, so it is in the key. ``settings``: plain JSON data
    that affects the content, beside ``inputs`` and ``config``.
    """

    name: str
    function: Callable[..., dict[str, Any]]
    inputs: Mapping[str, InputFile] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def target(self) -> str:
        """``module:function``."""
        return f"{self.function.__module__}:{self.function.__qualname__}"

    def key(self, code: str) -> str:
        """The part's identity, 32 hexadecimal digits. ``code``: the digest of the code behind ``function``."""
        payload = {
            "function": self.target,
            "code": code,
            "name": self.name,
            "inputs": [
                [role, file.digest] for role, file in self.inputs.items()
            ],  # in the order in which they are read
            "config": {name: canonical(value) for name, value in sorted(self.config.items())},
            "settings": self.settings,
        }
        return xxh3_128_hexdigest(json.dumps(payload, separators=(",", ":"), ensure_ascii=False).encode())
