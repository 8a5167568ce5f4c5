"""One direction of imports: pipelines → assets → llm_core, and inside llm_core from the experiment to the report."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from llm_core.store.home import PROJECT

LAYERS = ["experiment", "store", "graph", "data", "tokens", "model", "train", "evals", "report"]
"""Each may import from those before it, and from the plain modules of llm_core."""


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize(
    ("package", "forbidden"),
    [("llm_core", ("dagster", "dagster_pipes", "assets", "pipelines")), ("assets", ("dagster", "pipelines"))],
)
def test_packages_import_one_way(package: str, forbidden: tuple[str, ...]) -> None:
    for path in (PROJECT / package).rglob("*.py"):
        for name in imports(path):
            assert name.split(".")[0] not in forbidden, f"{path} imports {name}"


def test_layers_of_the_library_import_one_way() -> None:
    for number, layer in enumerate(LAYERS):
        for path in (PROJECT / "llm_core" / layer).rglob("*.py"):
            for name in imports(path):
                parts = name.split(".")
                if parts[0] == "llm_core" and len(parts) > 1 and parts[1] in LAYERS[number + 1 :]:
                    raise AssertionError(f"{path} imports {name}")


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("pipelines.cli", {"torch", "dagster", "lm_eval", "wandb", "matplotlib"}),
        ("assets.graph", {"torch", "dagster", "polars"}),
        ("pipelines.tiny", {"torch", "lm_eval", "wandb", "matplotlib"}),
    ],
)
def test_what_is_heavy_loads_late(module: str, absent: set[str]) -> None:
    code = f"import sys, {module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not absent & set(done.stdout.split())
