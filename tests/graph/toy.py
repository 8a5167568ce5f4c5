"""A toy graph whose stages can be changed in every way that a real one can."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from llm_core.errors import UnknownYetError
from llm_core.experiment.runtime import ComputeSpec
from llm_core.graph.graph import Graph
from llm_core.graph.job import Job
from llm_core.graph.plan import Planner
from llm_core.graph.results import Results
from llm_core.graph.stage import Stage, Verdict
from llm_core.store.store import Store

BUILDS: list[str] = []
"""The stages that were really built, in order."""
CODE: dict[str, int] = {}
"""Stage name → version of its code; two versions in a row give the same result."""
EXTERNALS: dict[str, str] = {}
UNKNOWN = "?"
"""In ``EXTERNALS``: what must be asked for first."""
COMPUTE = ComputeSpec()
"""What the last build ran with."""


class Value(Results):
    value: int


def build(job: Job, name: str, salt: int) -> Value:
    global COMPUTE
    COMPUTE = job.runtime.compute
    BUILDS.append(name)
    above = [int(job.path(role, "value").read_text()) for role in sorted(job.inputs)]
    value = (sum(above) * 31 + salt // 2 * 7 + CODE.get(name, 0) // 2 * 3 + len(name)) % 10_007
    (job.out / "value").write_text(f"{value:05d}")
    (job.out / "clock").write_text(str(len(BUILDS)))
    return Value(value=value)


def source_digests(name: str, salt: int) -> dict[str, str]:
    if EXTERNALS.get(name) == UNKNOWN:
        raise UnknownYetError("file: not known yet")
    return {"file": EXTERNALS.get(name, "0")}


def look_up(name: str, salt: int) -> None:
    if EXTERNALS.get(name) == UNKNOWN:
        EXTERNALS[name] = "0"


def remainder(results: Value, bounds: dict[str, int]) -> Verdict:
    passed = results.value % 11 != bounds["forbidden"]
    return Verdict(passed, f"{results.value} leaves the forbidden remainder")


class Reader:
    """Stands in for the reader of syntax trees: a stage's code is its version."""

    packages = ()

    def digests(self, targets: Iterable[str], names: frozenset[str]) -> dict[str, str]:
        (name,) = [target.removeprefix("toy/") for target in targets if target.startswith("toy/")]
        return {f"toy:{name}": str(CODE.get(name, 0))}

    def stamps(self, digests: Iterable[str]) -> dict[str, Any]:
        return {}


def stage(name: str, inputs: tuple[str, ...] = (), salt: int = 0, forbidden: int = -1, **more: Any) -> Stage:
    return Stage(
        name=name,
        group="toy",
        description="",
        build="tests.graph.toy:build",
        results=":Value",
        code=(f"toy/{name}",),
        blocking=(":remainder",),
        source_digests=":source_digests",
        inputs={f"from_{above}": above for above in inputs},
        config={"name": name, "salt": salt},
        bounds={"forbidden": forbidden},
        volatile=("clock",),
        **more,
    )


def planner(stages: Iterable[Stage], root: Path, versions: dict[str, str] | None = None) -> Planner:
    return Planner(Graph("toy", stages), Store(root), Reader(), versions or {})  # type: ignore[arg-type]


def reset() -> None:
    BUILDS.clear()
    CODE.clear()
    EXTERNALS.clear()
