"""Checks that the code that a stage names exists. Runs when the graph is built, before any work, without imports."""

import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from llm_core.graph.stage import Stage

_DEFINED = re.compile(rb"^(?:def|async def|class) (\w+)", re.MULTILINE)


def check_targets(stage: Stage) -> None:
    """Raise ``ValueError`` for a target whose module does not exist, or does not define the function."""
    for target in stage.targets:
        module, _, name = target.partition(":")
        defined = _defined(module)
        if defined is None:
            raise ValueError(f"stage {stage.name} names {target}, but there is no module {module}")
        if name not in defined:
            raise ValueError(f"stage {stage.name} names {target}, but {module} defines no {name}")


@cache
def _defined(module: str) -> frozenset[str] | None:
    """The functions and classes of a module. None when the module does not exist."""
    try:
        spec = find_spec(module)
    except ModuleNotFoundError:
        return None
    if spec is None or spec.origin is None:
        return None
    return frozenset(name.decode() for name in _DEFINED.findall(Path(spec.origin).read_bytes()))
