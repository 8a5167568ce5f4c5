"""The checks of a shipped stage, as the graph declares them."""

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any, get_args, get_origin

from assets.graph import experiment_graph
from llm_core.experiment.base import from_plain
from llm_core.experiment.continuation import BranchSpec
from llm_core.experiment.evaluation import ChecksSpec
from llm_core.experiment.exports import ExportsSpec
from llm_core.experiment.quality import QualitySpec
from llm_core.experiment.retrieval import RetrievalSpec
from llm_core.experiment.tuning import TuningSpec
from llm_core.graph.checks import evaluate_results
from llm_core.graph.graph import Graph
from llm_core.graph.results import Results
from llm_core.graph.stage import Check
from llm_core.registry import load_object
from pipelines.experiments import open_experiment


@cache
def _graph() -> Graph:
    tiny = open_experiment("tiny")
    good = {"paths": ("good.jsonl",), "name": "good"}
    quality = QualitySpec.model_validate({"good": good, "keep_share": 0.5})
    branch = BranchSpec.model_validate({"from_step": 100, "steps": 10})
    talks = {"name": "talks", "paths": ["talks.jsonl"], "messages": "messages"}
    tuning = from_plain(TuningSpec, {"sources": [talks], "training": {"batch_tokens": 2048, "tokens": 20480}})
    changes = {"quality": quality, "branches": {"short": branch}, "retrieval": RetrievalSpec(), "instruct": tuning}
    changes["exports"] = ExportsSpec(gguf=("f32",), onnx=True)
    return experiment_graph(tiny.model_copy(update=changes))


def judged(stage: str, results: Results | Mapping[str, Any], **bounds: Any) -> list[Check]:
    """The checks of ``stage`` on ``results``, the blocking ones first; ``bounds`` are fields of ``ChecksSpec``."""
    declared = replace(_graph()[stage], bounds=ChecksSpec(**bounds))
    given = (
        results if isinstance(results, Results) else load_object(declared.results).model_validate(whole(stage, results))
    )
    return evaluate_results(declared, given)


def whole(stage: str, figures: Mapping[str, Any]) -> dict[str, Any]:
    """``figures`` with something neutral for the other results of ``stage``; those of all runs are alike."""
    declared = _graph()[stage if stage in _graph() else "pretrained_model"]
    fields = load_object(declared.results).model_fields
    missing = {name: _neutral(field.annotation) for name, field in fields.items() if name not in figures}
    return {**missing, **figures}


def _neutral(kind: Any) -> Any:
    if type(None) in get_args(kind):
        return None
    return (get_origin(kind) or kind)()
