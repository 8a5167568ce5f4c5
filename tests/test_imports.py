"""One direction of imports: pipelines → assets → llm_core, and inside llm_core from the experiment to the report.

Nowhere is there a circle of imports, not even one that only closes when a function is called.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from llm_core.store.home import PROJECT

LAYERS = [
    "experiment",
    "store",
    "graph",
    "data",
    "tokens",
    "chat",
    "model",
    "train",
    "evals",
    "retrieval",
    "test_time",
    "serve",
    "science",
    "study",
    "optimizations",
    "report",
]
"""Each may import from those before it, and from the plain modules of llm_core."""

FOLDERS = ["llm_core", "assets", "pipelines", "benchmarks", "tests", "docs"]
"""All Python code of the repository."""


@cache
def imports(path: Path) -> tuple[str, ...]:
    """All modules that a file imports, at once, in functions or for types, and the names that it takes from them."""
    return tuple(_imports(ast.walk(ast.parse(path.read_text()))))


def _imports(nodes: Iterator[ast.AST]) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize(
    ("package", "forbidden"),
    [
        ("llm_core", ("dagster", "dagster_pipes", "assets", "pipelines", "tests", "benchmarks")),
        ("assets", ("dagster", "pipelines", "tests", "benchmarks")),
        ("pipelines", ("tests", "benchmarks")),
    ],
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


def test_plain_modules_of_the_library_import_no_layer() -> None:
    for path in (PROJECT / "llm_core").glob("*.py"):
        for name in imports(path):
            of_layer = name.startswith(tuple(f"llm_core.{layer}" for layer in LAYERS))
            assert not of_layer or name.startswith("llm_core.store.home"), f"{path} imports {name}"


def executed(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes below ``node``, without imports that only a type checker reads."""
    yield node
    for child in ast.iter_child_nodes(node):
        if not (isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"):
            yield from executed(child)


def test_there_is_no_circle_of_imports() -> None:
    modules: dict[str, Path] = {}
    for path in [path for folder in FOLDERS for path in (PROJECT / folder).rglob("*.py")]:
        parts = path.relative_to(PROJECT).with_suffix("").parts
        modules[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path

    def module(name: str) -> str:
        while name and name not in modules:
            name = name.rpartition(".")[0]
        return name

    graph = {
        name: {module(imported) for imported in _imports(executed(ast.parse(path.read_text())))} - {"", name}
        for name, path in modules.items()
    }
    assert graph["llm_core.graph.execute"] >= {"llm_core.graph.plan", "llm_core.store.store"}
    TopologicalSorter(graph).prepare()  # its error names the modules of a circle


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
