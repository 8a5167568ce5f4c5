"""A component with settings, on which a contract is checked."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from llm_core import registries
from llm_core.experiment.base import from_plain
from llm_core.registry import Registry

SIZE = 4
"""The value of a setting that must be given, where an example gives none: most of them are sizes."""


class ContractError(AssertionError):
    """A component breaks its contract. The message names the component, what is wrong, and what to do."""


@dataclass(frozen=True)
class Example:
    """The component ``kind`` of a registry (its name in ``llm_core.registries``), with ``settings``."""

    table: str
    kind: str
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def registry(self) -> Registry:
        """Its registry."""
        found: Registry = getattr(registries, self.table)
        return found

    @property
    def loaded(self) -> Any:
        """What its entry names: a class, or the function of a rule."""
        return self.registry.load(self.kind)

    def whole(self) -> dict[str, Any]:
        """``settings`` with ``kind``, and a value for each other setting that must be given."""
        needed = {name: SIZE for name, setting in self.loaded.model_fields.items() if setting.is_required()}
        return {**needed, **self.settings, "kind": self.kind}

    def component(self) -> Any:
        """The component with these settings. Raises ``ContractError`` for settings that it does not take."""
        try:
            return from_plain(self.loaded, self.whole())
        except ValueError as error:
            self.hold(False, f"does not take its example settings {self.whole()}: {error}; give others in examples")
            raise

    def hold(self, condition: object, wrong: str) -> None:
        """Raise ``ContractError`` with what is ``wrong``, unless ``condition`` holds."""
        if not condition:
            raise ContractError(f"{self.registry[self.kind]} (the {self.registry.what} {self.kind!r}): {wrong}")


Check = Callable[[Example], None]
"""Raises ``ContractError`` when the component breaks this part of its contract."""


def run(check: Check, example: Example) -> None:
    """Run ``check``. Raises ``ContractError``, also for any other exception of the component."""
    try:
        check(example)
    except ContractError:
        raise
    except Exception as error:
        notes = "".join(f" {note}" for note in getattr(error, "__notes__", ()))
        wrong = (
            f"fails in the contract test {getattr(check, '__name__', check)}: {type(error).__name__}: {error}{notes}"
        )
        try:
            example.hold(False, wrong)
        except ContractError as told:
            raise told from error
