"""A cache of code digests between processes, valid while no source file changes. Every plan needs them."""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from llm_core.graph.code_digest import CodeReader, folders_of, text_digest
from llm_core.loaded_code import PACKAGES, Source, code_stamp
from llm_core.store.files import write_atomically

Stamp = tuple[int, ...]


class RememberingReader(CodeReader):
    """A ``CodeReader`` that caches its answers in the file ``memory``.

    An answer is valid for one state of all files of the packages (sizes, times and inodes). Nothing is cached when a
    file differs from the code that this process has imported.
    """

    def __init__(
        self,
        root: Path,
        memory: Path,
        loaded: Mapping[str, Source],
        packages: tuple[str, ...] = PACKAGES,
        plugins: tuple[str, ...] = (),
    ) -> None:
        super().__init__(root, packages, loaded, plugins)
        self._memory = memory
        # Before any file is read, so that a later change has another stamp.
        self._stamps = dict(_stamps(folders_of(root, packages, plugins)))
        as_loaded = all(self._stamps.get(str(source.path)) == source.stamp for source in loaded.values())
        state = json.dumps([plugins, sorted(self._stamps.items())])
        self._state = text_digest(state.encode()) if as_loaded else None
        self._answers: dict[str, dict[str, str]] | None = None

    def digests(self, targets: Iterable[str], names: frozenset[str]) -> dict[str, str]:
        """See ``CodeReader``."""
        asked = tuple(targets)
        if self._state is None:
            return super().digests(asked, names)
        question = text_digest(json.dumps([asked, sorted(names)]).encode())
        answers = self._known_answers()
        if question not in answers:
            found = super().digests(asked, names)
            self._answers = {**self._recalled(), **answers, question: found}  # other processes add their answers
            with suppress(OSError):  # only a cache: on a read-only disk, code is read again next time
                write_atomically(self._memory, json.dumps({"state": self._state, "answers": self._answers}).encode())
            return found
        return answers[question]

    def stamps(self, digests: Iterable[str]) -> dict[str, Stamp]:
        """See ``CodeReader``."""
        if self._state is None:
            return super().stamps(digests)
        return {name: self._stamps[str(path)] for name, path in self.paths(digests).items()}

    def _known_answers(self) -> dict[str, dict[str, str]]:
        if self._answers is None:
            self._answers = self._recalled()
        return self._answers

    def _recalled(self) -> dict[str, dict[str, str]]:
        try:
            known = json.loads(self._memory.read_bytes())
            return dict(known["answers"]) if known["state"] == self._state else {}
        except (OSError, ValueError, KeyError, TypeError):
            return {}


def _stamps(folders: Mapping[str, Path]) -> Iterator[tuple[str, Stamp]]:
    for package, root in folders.items():
        paths = [root / f"{package}.py"]
        for folder, inner, files in os.walk(root / package):
            inner[:] = [name for name in inner if name != "__pycache__"]
            paths += [Path(folder, name) for name in files]
        for path in paths:
            with suppress(OSError):
                yield str(path), code_stamp(path)
