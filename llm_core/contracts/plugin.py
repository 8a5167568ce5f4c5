"""All contract tests of a plug-in, in one line of a test file:

test_contract = contract_tests("my_model.components")
"""

from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from typing import Any

from llm_core import registries
from llm_core.contracts.example import Check, Example, run
from llm_core.plugins import load_plugins
from llm_core.registry import Registry

CONTRACTS = {
    "SOURCES": "sources:CHECKS",
    "RULES": "rules:CHECKS",
    "LINE_RULES": "rules:CHECKS",
    "REDACTIONS": "redactions:CHECKS",
    "PACKINGS": "packings:CHECKS",
    "MIXERS": "components:OF_BLOCKS",
    "NORMS": "components:CHECKS",
    "POSITIONS": "components:OF_POSITIONS",
    "ABSOLUTE_POSITIONS": "components:OF_ABSOLUTE_POSITIONS",
    "FEED_FORWARDS": "components:OF_BLOCKS",
    "HF_FAMILIES": "families:CHECKS",
    "OPTIMIZERS": "training:OF_OPTIMIZERS",
    "CALLBACKS": "training:OF_CALLBACKS",
    "LAUNCHERS": "settings:CHECKS",
    "SCHEDULES": "schedules:CHECKS",
    "SECTIONS": "settings:CHECKS",
    "JUDGES": "judges:CHECKS",
    "INSTRUCTION_RULES": "instruction_rules:CHECKS",
    "DEVICE_TYPES": "settings:WITHOUT_SETTINGS",
}
"""Registry → its checks, in a module beside this one. It is imported only for the tests of such a component."""


def contract_tests(plugin: str, examples: Mapping[str, Mapping[str, Any]] | None = None) -> Callable[..., None]:
    """A pytest test for every check of every component that ``plugin`` adds.

    ``examples``: name → settings of the component for its tests. A setting that must be given and is not in them is
    taken for a size. Raises ``PedigreeError`` for a plug-in that can't be loaded.
    """
    import pytest

    load_plugins([plugin])
    cases = [
        pytest.param(example, check, id=f"{example.kind}-{check.__name__}")
        for example in examples_of(plugin, examples or {})
        for check in checks_of(example.table)
    ]

    @pytest.mark.parametrize(("example", "check"), cases)
    def test_contract(example: Example, check: Check) -> None:
        run(check, example)

    return test_contract


def examples_of(plugin: str, settings: Mapping[str, Mapping[str, Any]]) -> Iterator[Example]:
    """The components that a loaded plug-in adds, with their ``settings``."""
    for table, registry in vars(registries).items():
        if isinstance(registry, Registry):
            for kind in registry:
                if registry.plugin(kind) == plugin:
                    yield Example(table, kind, settings.get(kind, {}))


def checks_of(table: str) -> tuple[Check, ...]:
    """The checks of a registry."""
    module, _, name = CONTRACTS[table].partition(":")
    checks: tuple[Check, ...] = getattr(import_module(f"llm_core.contracts.{module}"), name)
    return checks
