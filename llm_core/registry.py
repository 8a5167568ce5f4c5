"""Tables of named components. A component is imported only when a configuration names it."""

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

from llm_core.errors import PedigreeError
from llm_core.reasons import place_of, said
from llm_core.runtime_only import runtime_only


@runtime_only("finds code by its name, and the digest follows the same name")
def load_object(target: str, followed: str = "") -> Any:  # noqa: ARG001 (for the reader of code)
    """The object behind ``package.module:name``.

    The code digest follows a literal ``target``. For a ``target`` that is computed at run time, ``followed`` says how
    the digest reaches the same code.
    """
    module, _, name = target.partition(":")
    return getattr(import_module(module, __package__), name)  # exported code has relative names


@runtime_only("finds code by its name, and the digest follows the same name")
class Registry(Mapping[str, str]):
    """Name → ``module:object``, imported by ``load``.

    The code digest reads the table from the syntax tree, and follows only the entries that a stage's configuration
    names (``llm_core.graph.code_digest``). So the table must be a literal, and a new entry re-runs nothing.

    ``contract``: ``module:function`` that raises ``ValueError`` for an object that is no such component; for components
    without a class of settings, which ``KindOf`` checks.
    """

    def __init__(self, what: str, targets: dict[str, str], contract: str = "") -> None:
        self.what = what
        self._contract = contract
        self._targets = dict(targets)
        self._plugins: dict[str, str] = {}

    def __getitem__(self, name: str) -> str:
        return self._targets[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._targets)

    def __len__(self) -> int:
        return len(self._targets)

    def check(self, name: str) -> str:
        """Return ``name`` if it is in the table. Raises ``ValueError`` with the known names otherwise."""
        if name not in self._targets:
            raise ValueError(f"unknown {self.what} {name!r}; known: {', '.join(sorted(self._targets))}")
        return name

    def add(self, targets: Mapping[str, str], plugin: str) -> None:
        """Add the entries of a plug-in (``llm_core.plugins``)."""
        self._targets.update(targets)
        self._plugins.update(dict.fromkeys(targets, plugin))

    def plugin(self, name: str) -> str | None:
        """The plug-in that brings ``name``; None for what Pedigree has itself."""
        return self._plugins.get(name)

    def check_plugin(self, name: str) -> None:
        """Raise ``PedigreeError`` when ``name`` belongs to a plug-in and breaks the contract. Imports the component."""
        if self._contract and name in self._plugins:
            self._hold(self._contract, name, self.load(name))

    def _hold(self, contract: str, name: str, found: Any) -> None:
        try:
            load_object(contract)(name, found)
        except ValueError as error:
            raise PedigreeError(f"{self._targets[name]} (the {self.what} {name!r}): {error}") from None

    def load(self, name: str) -> Any:
        """Import the object ``name``.

        Raises ``PedigreeError`` for a name that is not in the table, and for a component of a plug-in that can't be
        imported or declares something wrong.
        """
        try:
            self.check(name)
        except ValueError as error:
            raise PedigreeError(str(error)) from None
        target = self._targets[name]
        if name not in self._plugins:
            return load_object(target)
        try:
            found = load_object(target)
        except Exception as error:
            raise PedigreeError(
                f"{target} (the {self.what} {name!r} of plug-in {self._plugins[name]}) can't be imported, "
                f"{place_of(error)}: {said(error)}"
            ) from None
        self._hold("llm_core.contracts.at_reading:check_declarations", name, found)
        return found
