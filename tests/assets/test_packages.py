import pytest

from assets.graph import experiment_graph
from llm_core.errors import PedigreeError
from llm_core.experiment.experiment import Experiment
from llm_core.experiment.load import load_experiment
from llm_core.graph.plan import PlanItem
from llm_core.graph.requirements import check_packages
from pipelines.experiments import experiment_file


@pytest.fixture(scope="module")
def tiny() -> Experiment:
    return load_experiment(experiment_file("tiny"))


def check(experiment: Experiment, **verdicts: str) -> None:
    items = [PlanItem(stage, verdict, []) for stage, verdict in verdicts.items()]  # type: ignore[arg-type]
    check_packages(experiment_graph(experiment), items, experiment.compute)


def without(monkeypatch: pytest.MonkeyPatch, *packages: str) -> None:
    monkeypatch.setattr("llm_core.graph.requirements.is_installed", lambda name: name not in packages)


def test_what_is_made_needs_its_packages(tiny: Experiment, monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "torch", "lm_eval")
    with pytest.raises(PedigreeError, match=r"torch, for pretrained_model\. .*-e '\.\[train\]'` in the checkout"):
        check(tiny, tokenizer="run", pretrained_model="run")
    with pytest.raises(PedigreeError, match=r"torch, for .* and 1 more; lm_eval, for eval_results\. .*\[eval,train\]"):
        check(tiny, pretrained_model="maybe", eval_results="maybe")
    check(tiny, tokenizer="run", pretrained_model="hit", eval_results="blocked")


def test_what_workers_need(tiny: Experiment, monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "ray")
    spread = tiny.model_copy(update={"compute": tiny.compute.model_copy(update={"map": "ray"})})
    with pytest.raises(PedigreeError, match=r"ray, for clean_documents\. .*\[ray\]"):
        check(spread, clean_documents="run")
