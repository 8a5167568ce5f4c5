"""Which code a process must run, and the check that it does.

A plan reads the code once. Others run it later: the trainer, an evaluation, a worker, a build in this process. Each of
them gets the claim, and compares it with the code that it has imported, at its start and before its result is
committed.
"""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator

from llm_core.errors import PedigreeError
from llm_core.experiment.base import Spec
from llm_core.graph.code_digest import CodeReader, digest_of, folders_of
from llm_core.loaded_code import LOADED, PACKAGES, Source, code_stamp, module_path, top
from llm_core.plugins import load_plugins, plugins_of
from llm_core.runtime_only import runtime_only
from llm_core.store.home import PROJECT

_NAMED = 5
"""How many files a message names."""


@runtime_only("compares code, and makes nothing")
class CodeClaim(Spec):
    """The digest of all code behind a result, and the arguments to compute it again.

    ``targets`` and ``names``: the arguments of ``CodeReader.digests``. ``sources``: module or data file (relative to
    the project) → the stamp of its file when it was read, for a fast first comparison. ``plugins``: the plug-ins whose
    code is included; a process that reads the claim loads them.
    """

    plugins: Annotated[tuple[str, ...], AfterValidator(load_plugins)] = ()
    targets: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    digest: str = ""
    packages: tuple[str, ...] = PACKAGES
    sources: tuple[tuple[str, tuple[int, ...]], ...] = ()

    def load(self) -> None:
        """Import all modules of the claim that are importable here, so that none is imported after a check."""
        for name, _ in self.sources:
            if "/" not in name and not name.endswith("__main__"):
                with suppress(ImportError):  # a training machine lacks the libraries of stages that it does not run
                    import_module(name)

    def check(self, what: str, root: Path = PROJECT, on_disk: bool = False) -> None:
        """Raise ``PedigreeError`` when this process runs different code from the claim.

        Compares the imported code, and the current files for modules that are not imported. With ``on_disk``, always
        compares the files, so code that was edited after its import is an error too. ``what``: the start of the
        message, which names the artifact being built.
        """
        folders = folders_of(root, self.packages, self.plugins)
        loaded = LOADED if root == PROJECT else {}
        changed = [name for name, stamp in self.sources if not _is_as_claimed(name, stamp, folders[top(name)], loaded)]
        if not changed:
            return
        readers = [CodeReader(root, self.packages, loaded, self.plugins)]
        if on_disk:
            readers.append(CodeReader(root, self.packages, plugins=self.plugins))
        if any(digest_of(reader.digests(self.targets, frozenset(self.names))) != self.digest for reader in readers):
            more = [f"{len(changed) - _NAMED} more"] if len(changed) > _NAMED else []
            named = ", ".join(changed[:_NAMED] + more)
            raise PedigreeError(
                f"{what}: the code has changed since the run began ({named}); nothing was committed. Run again: the "
                "current code gives another artifact; if you undo the edit, finished parts and checkpoints are found"
            )


def claim(reader: CodeReader, targets: Iterable[str], names: frozenset[str]) -> CodeClaim:
    """The claim for ``targets`` and ``names`` with the code that ``reader`` read."""
    asked = tuple(targets)
    digests = reader.digests(asked, names)
    return CodeClaim(
        plugins=plugins_of(digests),
        targets=asked,
        names=tuple(sorted(names)),
        digest=digest_of(digests),
        packages=reader.packages,
        sources=tuple(reader.stamps(digests).items()),
    )


def _is_as_claimed(name: str, stamp: tuple[int, ...], folder: Path, loaded: Mapping[str, Source]) -> bool:
    if name in loaded and loaded[name].stamp != stamp:
        return False
    try:
        return code_stamp(folder / module_path(folder, name)) == stamp
    except OSError:
        return False
