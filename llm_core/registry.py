"""Tables of named parts that are imported only when a configuration names them."""

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

from llm_core.errors import PedigreeError
from llm_core.runtime_only import runtime_only


@runtime_only("finds code by its name, and the digest follows the same name")
def load_object(target: str, followed: str = "") -> Any:  # noqa: ARG001 (for the reader of code)
    """The object behind ``package.module:name``.

    The code digest follows a literal ``target``. Where it is put together when the program runs, ``followed`` says how
    the digest comes to the same code.
    """
    module, _, name = target.partition(":")
    return getattr(import_module(module), name)


@runtime_only("finds code by its name, and the digest follows the same name")
class Registry(Mapping[str, str]):
    """Names → ``module:object``, imported on ``load``.

    The code digest reads the table from the syntax tree and follows only the entries that a stage's configuration
    names (``llm_core.graph.code_digest``): so the table must be a literal, and a new entry re-runs nothing.
    """

    def __init__(self, what: str, targets: dict[str, str]) -> None:
        self.what = what
        self._targets = targets

    def __getitem__(self, name: str) -> str:
        return self._targets[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._targets)

    def __len__(self) -> int:
        return len(self._targets)

    def check(self, name: str) -> str:
        """``name`` itself if it is in the table; ``ValueError`` with the known names otherwise."""
        if name not in self._targets:
            raise ValueError(f"unknown {self.what} {name!r}; known: {', '.join(sorted(self._targets))}")
        return name

    def load(self, name: str) -> Any:
        """The object named ``name``; raises ``PedigreeError`` for a name that is not in the table."""
        try:
            self.check(name)
        except ValueError as error:
            raise PedigreeError(str(error)) from None
        return load_object(self._targets[name])
