"""The page that compares models."""

import json

import pytest

from assets.graph import experiment_graph
from llm_core.errors import PedigreeError
from llm_core.report.model_comparison import build
from tests.experiment.test_continuation import load
from tests.experiment.test_tuning import TUNING
from tests.report.conftest import artifact, job_of

MODELS = {"pretrained_model": "eval_results", "cooldown_runs/a": "cooldown_runs/a_eval_results"}


def scored(folder, name, right, bits):
    """40 items of a quiz, of which ``right`` are answered rightly."""
    made = artifact(folder / name.replace("/", "_"), name, {})
    lines = [
        {"task": "quiz", "item_id": str(number), "cluster": str(number), "correct": int(number < right),
         "bits": bits * (1 + number % 3), "bytes": 4}
        for number in range(40)
    ]  # fmt: skip
    (made.path / "scores.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return made


def test_only_what_is_decided_has_a_colour(tmp_path):
    scores = {
        "eval_results": scored(tmp_path, "eval_results", 20, 8.0),
        "cooldown_runs/a_eval_results": scored(tmp_path, "cooldown_runs/a_eval_results", 22, 7.0),
    }
    job = job_of(scores, tmp_path)
    found = build(job, "tiny", MODELS)
    verdicts = {row["metric"]: row["verdict"] for row in found.models["cooldown_runs/a"]}
    assert verdicts == {"accuracy": "undecided", "bits_per_byte": "better"}
    page = (job.out / "models.html").read_text()
    assert "cooldown_runs/a beside pretrained_model: of 2 scores, 1 better, 0 worse, 1 undecided." in page
    assert page.count('<td class="n better"') == 1
    assert "+5.0 (" in page


def test_every_model_is_scored_once_on_the_same_items(tmp_path):
    compared = "evaluation: {compare: [cooldown_runs/a, chat_model]}\n"
    text = TUNING + compared + "branches: {a: {from_step: 40, steps: 8}}\n"
    graph = experiment_graph(load(tmp_path, text))
    scores = ["eval_results", *(f"{name}_eval_results" for name in ("instruct", "chat", "cooldown_runs/a"))]
    assert list(graph["model_comparison"].inputs) == scores
    own = graph["cooldown_runs/a_eval_results"]
    assert own.inputs["model"] == "cooldown_runs/a"
    assert own.config == graph["eval_results"].config
    assert "model_comparison" not in experiment_graph(load(tmp_path, ""))
    with pytest.raises(
        PedigreeError, match=r"evaluation\.compare: other: no stage of this name trains a model; known: p"
    ):
        experiment_graph(load(tmp_path, "evaluation: {compare: [other]}"))
