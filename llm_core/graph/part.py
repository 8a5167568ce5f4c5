"""Parts: the pieces of a stage's work that are made, kept and found again one by one.

A part is a pure function of its input files and settings. Its key is a hash of those and of the code that makes it: so
a part is made once, whatever becomes of the stage around it (killed half-way, run again with one more source file), by
any number of workers, on any machine.
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
    """A file and the digest of its content. ``name``: where it stands in its artifact (``parts/web-000.parquet``).

    ``stamp`` is given for files outside the store: one that changes while it is read makes the part fail.
    """

    name: str
    path: Path
    digest: str
    stamp: tuple[int, ...] | None = None

    @property
    def stem(self) -> str:
        """The part's name: what stands between folder and suffix."""
        return self.path.stem

    @classmethod
    def outside(cls, name: str, path: Path) -> "InputFile":
        """A file outside the store, as it is now."""
        now = tuple(stamp(path.resolve()))  # before the digest: what changes in between is noticed
        return cls(name, path, source_digest(path), now)


@dataclass(frozen=True)
class PartWork:
    """What the function of a part gets. ``out``: an empty folder, to be filled with files as the artifact has them."""

    name: str
    inputs: Mapping[str, Path]
    settings: Mapping[str, Any]
    out: Path


@runtime_only("says what is to be made, and by which key it is found")
@dataclass(frozen=True)
class PartTask:
    """One part to be made: ``function(work: PartWork, **config) -> stats``, a top-level function of the project.

    ``name`` is unique in the stage, and names the files of the part (so it counts in the key). ``settings`` is plain
    JSON data that goes into the content beside ``inputs`` and ``config``.
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
        """The part's identity, 32 hexadecimal digits; ``code`` is the digest of the code behind ``function``."""
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
