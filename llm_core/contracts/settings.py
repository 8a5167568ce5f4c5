"""What holds for every component with settings."""

import ast
import inspect
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterable

from pydantic import ValidationError

from llm_core import registries
from llm_core.contracts.example import Check, Example
from llm_core.experiment.component import Component, KindOf


def is_read_without_torch(example: Example) -> None:
    """Experiments are planned on machines without torch, and quickly."""
    plugin = example.registry.plugin(example.kind)
    example.hold(
        not torch_after_loading([(example.table, example.kind)], [plugin] if plugin else []),
        "reading it imports torch, so that every plan does; move what needs torch into another module, and load it in "
        'the method that returns it: load_object("package.module:Name")',
    )


def is_documented(example: Example) -> None:
    """The class and each setting."""
    example.hold(example.loaded.__doc__, "has no docstring: write what it is in one sentence")
    missing = ", ".join(sorted(unexplained(example.loaded)))
    example.hold(not missing, f"nothing says what {missing} means: write a string below the setting, with its unit")


def comes_back_from_json(example: Example) -> None:
    """Processes and manifests get it as JSON."""
    component = example.component()
    kind = type(component)
    for back in (kind.model_validate_json(component.model_dump_json()), kind.model_validate(component.model_dump())):
        example.hold(back == component, f"is {back} after it was written as JSON and read; it was {component}")


def refuses_unknown_settings(example: Example) -> None:
    """A typo must not go unnoticed."""
    try:
        KindOf(example.registry).made({**example.whole(), "nonsense": 1})
    except (ValueError, ValidationError):
        return
    example.hold(False, "takes a setting that it does not have; remove extra= from its model_config")


WITHOUT_SETTINGS: tuple[Check, ...] = (is_read_without_torch,)
CHECKS: tuple[Check, ...] = (
    is_read_without_torch,
    is_documented,
    comes_back_from_json,
    refuses_unknown_settings,
)


def torch_after_loading(entries: Iterable[tuple[str, str]], plugins: Iterable[str] = ()) -> bool:
    """Whether a process has imported torch once it has loaded ``entries``: (registry, name)."""
    code = f"""
import sys
from llm_core import registries
from llm_core.plugins import load_plugins
load_plugins({list(plugins)})
for table, kind in {list(entries)}:
    getattr(registries, table).load(kind)
print("torch" in sys.modules)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip() == "True"


def entries_of(*tables: str) -> list[tuple[str, str]]:
    """All entries of some registries, without those of plug-ins."""
    return [
        (table, kind)
        for table in tables
        for kind, target in getattr(registries, table).items()
        if target.startswith("llm_core.")
    ]


def unexplained(component: type[Component]) -> set[str]:
    """The settings without a string below them, except the kind."""
    written: set[str] = {"kind"}
    for cls in component.__mro__[: component.__mro__.index(Component)]:
        (tree,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
        assert isinstance(tree, ast.ClassDef)
        for field, after in zip(tree.body, tree.body[1:], strict=False):
            text = after.value if isinstance(after, ast.Expr) else None
            if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Constant) and isinstance(text.value, str):
                assert isinstance(field.target, ast.Name)
                written.add(field.target.id)
    return component.model_fields.keys() - written
