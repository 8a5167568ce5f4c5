"""What every kind of component must keep to, for the tests of each registry."""

import ast
import inspect
import subprocess
import sys
import textwrap

from llm_core.experiment.component import Component
from llm_core.store.home import PROJECT


def torch_after_loading(*registries: str) -> bool:
    """Whether torch is imported by a process that loads all entries of ``registries``."""
    code = f"""
import sys
from llm_core import registries
for name in {registries}:
    registry = getattr(registries, name)
    for kind in registry:
        registry.load(kind)
print("torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip() == "True"


def unexplained(component: type[Component]) -> set[str]:
    """The settings without words below them; the kind is none."""
    assert component.__doc__
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
