import pytest

from assets.graph import experiment_graph
from llm_core.errors import PedigreeError
from llm_core.experiment.experiment import IMPORTED
from llm_core.experiment.load import load_experiment
from pipelines.start_sections import with_start
from tests.experiment.test_load import MINIMAL
from tests.experiment.test_tuning import TUNING

START = """
start: {artifact: other/pretrained_model}
tokenizer: {kind: imported, imported: {file: tokenizer.json}}
"""
TRAINING = MINIMAL[MINIMAL.index("training:") :]
MODEL = MINIMAL[: MINIMAL.index("training:")]


def load(folder, text):
    path = folder / "started.yaml"
    path.write_text(text)
    return load_experiment(path, complete=with_start)


def test_the_full_run_goes_on_and_is_compared_with_its_start(tmp_path):
    graph = experiment_graph(load(tmp_path, MINIMAL + START))
    assert graph["pretrained_model"].inputs["start"] == IMPORTED
    assert graph["imported_eval_results"].inputs["model"] == IMPORTED
    assert graph["eval_results"].inputs["model"] == "pretrained_model"
    assert graph["start_comparison"].inputs == {
        "eval_results": "imported_eval_results",
        "pretrained_model": "eval_results",
    }
    assert {IMPORTED, "start_comparison"} <= set(graph["training_report"].inputs)


def test_without_a_full_run_the_start_itself_is_evaluated_and_tuned(tmp_path):
    graph = experiment_graph(load(tmp_path, MODEL + START + TUNING))
    assert "pretrained_model" not in graph
    readers = {"instruct_model": "start", "eval_results": "model", "generation_samples": "model", "hf_export": "model"}
    assert {graph[stage].inputs[role] for stage, role in readers.items()} == {IMPORTED}
    assert graph["chat_model"].inputs["start"] == "instruct_model"
    assert graph[IMPORTED].config["template"].startswith("{{ eos_token }}")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (MINIMAL + "start: {}", r"start: give one of artifact, folder, hugging_face \(given: none\)"),
        (MINIMAL + "start: {folder: a, artifact: b/c}", r"give one of .* \(given: artifact, folder\)"),
        (MINIMAL + "start: {hugging_face: a/b}", "revision: give the commit of a model on the Hub"),
        (MINIMAL + "start: {hugging_face: a/b, revision: main}", "revision: 'main' is no commit, and may move"),
        (MINIMAL + START.replace("kind: imported, imported: {file: tokenizer.json}", "kind: trained"), "of its own"),
        (MODEL + START, "training: say how the model is trained; it may be left out only where there is a start"),
        (MODEL + TUNING, "training: say how the model is trained"),
        (MODEL + START + TUNING + "optimizations: {}", "optimizations: needs a full run"),
        (
            MINIMAL + START + "study: {sizes: [{width: 32}], tokens: [51200], gate: null}",
            "study: its models are narrower",
        ),
        (TRAINING + "start: {folder: nowhere}", r"start\.folder: .*nowhere: there is no such folder"),
        (TRAINING + "start: {artifact: ../../etc/passwd}", r"start\.artifact: \.\./\.\..*: give experiment/stage"),
        (TRAINING + "start: {artifact: other/chat_model}", "means no artifact here"),
    ],
)
def test_what_is_said_before_any_work(tmp_path, monkeypatch, text, told):
    monkeypatch.setenv("PEDIGREE_HOME", str(tmp_path / "home"))
    with pytest.raises(PedigreeError, match=told):
        load(tmp_path, text)
