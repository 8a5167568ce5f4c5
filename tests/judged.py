"""The checks of a shipped stage, as the graph declares them."""

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any

from assets.graph import experiment_graph
from llm_core.experiment.continuation import BranchSpec
from llm_core.experiment.evaluation import ChecksSpec
from llm_core.experiment.quality import QualitySpec
from llm_core.graph.gate import evaluate
from llm_core.graph.graph import Graph
from llm_core.graph.stage import Check
from pipelines.experiments import open_experiment


@cache
def _graph() -> Graph:
    tiny = open_experiment("tiny")
    good = {"paths": ("good.jsonl",), "name": "good"}
    quality = QualitySpec.model_validate({"good": good, "keep_share": 0.5})
    branch = BranchSpec.model_validate({"from_step": 100, "steps": 10})
    return experiment_graph(tiny.model_copy(update={"quality": quality, "branches": {"short": branch}}))


def judged(stage: str, stats: Mapping[str, Any], **bounds: Any) -> list[Check]:
    """The checks of ``stage`` on ``stats``, the blocking ones first; ``bounds`` are fields of ``ChecksSpec``."""
    return evaluate(replace(_graph()[stage], bounds=ChecksSpec(**bounds)), dict(stats))
