"""Runs every stage of an experiment in this process under a profiler: ``python -m tests.assets.executed_code YAML``.

Prints JSON. ``executed``: stage → ``module:definition`` → how the project's code that was executed for it counts:
``counted`` (its text is in the stage's digest), ``by value`` (specifications), ``marked`` (``runtime_only``),
``under a mark`` (called by marked code), or ``unseen``. ``hops``: see ``Hops``. The trainer and the evaluation run here
instead of in processes of their own.
"""

import inspect
import json
import sys
import threading
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import CodeType, FrameType
from typing import Any
from unittest.mock import patch

import numba

from llm_core.graph import execute
from llm_core.graph.code_base import CodeBase
from llm_core.graph.job import Runtime
from llm_core.loaded_code import PACKAGES
from llm_core.registry import load_object
from llm_core.store.home import PROJECT
from llm_core.train.main import main as train
from pipelines.session import open_session
from tests.assets.forwarding import Hops

COUNTED, BY_VALUE, MARKED, UNDER, UNSEEN = "counted", "by value", "marked", "under a mark", "unseen"

# Marked code that hands on to code that must count: what it calls outside of the graph and the store is judged anew.
_HANDS_ON = {"llm_core.train.main:main", "llm_core.train.main:_train"}
_OF_THE_GRAPH = ("llm_core.graph.", "llm_core.store.", "llm_core.launch", "llm_core.loaded_code", "llm_core.registry")
_NUMBA: Any = numba.config
_IN_FUNCTIONS = inspect.CO_OPTIMIZED


class Profiler:
    """Notes what is executed while a stage is built."""

    def __init__(self) -> None:
        self._code = CodeBase(dict.fromkeys(PACKAGES, PROJECT), (), {})
        self._names: dict[CodeType, str | None] = {}
        self._marks: dict[str, bool] = {}
        self.counted: set[str] = set()
        self.seen: dict[str, str] = {}
        self.hops = Hops()

    def __call__(self, frame: FrameType, _: str, __: Any) -> None:
        """As a trace function: called when a function is, and nothing is traced in it."""
        name = self._names[frame.f_code] if frame.f_code in self._names else self._name(frame.f_code)
        if name is not None:
            self.hops(frame)
            state = self._state(name, frame)
            if state is not None and self.seen.get(name) != UNSEEN:
                self.seen[name] = state

    def _name(self, code: CodeType) -> str | None:
        """``module:definition`` of a function of the project; None for all else, and for what runs in an import."""
        if code not in self._names:
            path = Path(code.co_filename)
            name = None
            if code.co_flags & _IN_FUNCTIONS and path.is_absolute() and path.is_relative_to(PROJECT):
                parts = path.relative_to(PROJECT).with_suffix("").parts
                if parts[0] in PACKAGES:
                    module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
                    top = code.co_qualname.partition(".")[0]
                    name = None if top.startswith("<") else f"{module}:{top}"
            self._names[code] = name
        return self._names[code]

    def _state(self, name: str, frame: FrameType) -> str | None:
        if name in self.counted:
            return COUNTED
        if name.startswith("llm_core.experiment."):
            return BY_VALUE
        if self._is_marked(name):
            return MARKED
        outer = frame.f_back
        while outer is not None:
            if outer.f_code.co_name == "<module>" and self._in_project(outer.f_code):
                return None  # the import of a module
            caller = self._name(outer.f_code)
            if caller is not None and caller not in self.counted and not caller.startswith("llm_core.experiment."):
                if caller in _HANDS_ON and not name.startswith(_OF_THE_GRAPH):
                    return UNSEEN
                state = MARKED if self._is_marked(caller) else self.seen.get(caller, UNDER)
                return UNDER if state in (MARKED, UNDER) else UNSEEN
            if caller is not None:
                return UNSEEN
            outer = outer.f_back
        return None  # a thread of a library

    @staticmethod
    def _in_project(code: CodeType) -> bool:
        path = Path(code.co_filename)
        return path.is_absolute() and path.is_relative_to(PROJECT) and path.relative_to(PROJECT).parts[0] in PACKAGES

    def _is_marked(self, name: str) -> bool:
        if name not in self._marks:
            where, _, definition = name.partition(":")
            module = self._code.module(where)
            found = [] if module is None else module.definitions.get(definition, [])
            self._marks[name] = module is not None and any(self._code.is_marked(module, item) for item in found)
        return self._marks[name]


def profile(experiment: str) -> tuple[dict[str, dict[str, str]], dict[str, list[str]]]:
    """Make all stages of ``experiment``; (stage → what was executed for it, and how it counts; the forwarding hops)."""
    _NUMBA.DISABLE_JIT = True  # kernels run as Python, or no profiler would see them
    for library in ("lm_eval.evaluator", "matplotlib.pyplot", "polars", "torch._dynamo", "tiktoken"):
        import_module(library)  # faster without anybody looking
    session = open_session(experiment)
    profiler = Profiler()
    executed: dict[str, dict[str, str]] = {}

    def profiled(target: str) -> Callable[..., Any]:
        function = load_object(target, followed="a stage's own")

        def build(*arguments: Any, **config: Any) -> Any:
            threading.settrace(profiler)
            sys.settrace(profiler)
            try:
                return function(*arguments, **config)
            finally:
                sys.settrace(None)
                threading.settrace(None)  # type: ignore[arg-type]

        return build

    def launched(spec: Any, *_: Any) -> None:
        spec.write(spec.work / "spec.json")
        assert train([str(spec.work / "spec.json")]) == 0

    def evaluated(command: list[str], **_: Any) -> None:
        from llm_core.evals.run import main

        main(Path(command[-1]))

    compute = session.experiment.compute.model_copy(update={"workers": 1})
    with (
        patch.object(execute, "load_object", profiled),
        patch("llm_core.train.launching.launch", launched),
        patch("llm_core.evals.scoring.run_group", evaluated),
    ):
        for stage in session.graph:
            planner = session.planner()
            profiler.counted = {name.partition("[")[0] for name in planner.code(stage.name)}
            profiler.seen = {}
            outcome = execute.materialize(planner, stage.name, Runtime(compute, session.experiment.tracking))
            if outcome.cache == "made":
                executed[stage.name] = dict(sorted(profiler.seen.items()))
    return executed, profiler.hops.longest


if __name__ == "__main__":
    print(json.dumps(dict(zip(("executed", "hops"), profile(sys.argv[1]), strict=True))))
