import pytest

from assets.graph import experiment_graph
from llm_core.errors import PedigreeError
from llm_core.experiment.load import load_experiment
from tests.experiment.test_load import MINIMAL

TUNING = """
instruct:
  sources: [{name: asked, paths: [asked.jsonl], prompt: "{q}", answer: "{a}"}]
  training: {sequence_length: 64, batch_tokens: 512, tokens: 5120}
chat:
  sources: [{name: talks, paths: [talks.jsonl], messages: messages}]
  training: {sequence_length: 64, batch_tokens: 512, tokens: 5120}
"""

PREFERENCE = """
preference:
  sources: [{name: pairs, paths: [pairs.jsonl], prompt: "{q}", chosen: "{a}", rejected: "{b}"}]
  training: {sequence_length: 64, batch_tokens: 512, tokens: 5120}
"""


def load(folder, text=TUNING, **changes):
    for old, new in changes.values():
        assert old in text
        text = text.replace(old, new)
    path = folder / "tuned.yaml"
    path.write_text(MINIMAL + text)
    return load_experiment(path)


def test_each_section_tunes_the_model_before_it_behind_its_gate(tmp_path):
    experiment = load(tmp_path)
    graph = experiment_graph(experiment)
    assert graph["instruct_model"].inputs["start"] == "pretrained_model"
    assert graph["chat_model"].inputs["start"] == "instruct_model"
    assert graph["chat_model"].inputs["shards"] == "chat_shards"
    assert graph["chat_model"].gates == ("chat_mask_gate",)
    assert experiment.final_model() == "chat_model"
    assert set(graph["tuning_comparison"].inputs) == {"eval_results", "instruct_eval_results", "chat_eval_results"}
    assert graph["chat_export"].inputs["model"] == "chat_model"
    training = experiment.chat.training
    assert (training.packing, training.guards.loss_floor) == ("best_fit", None)
    alone = experiment_graph(load(tmp_path, TUNING[TUNING.index("chat:") :]))
    assert alone["chat_model"].inputs["start"] == "pretrained_model"
    assert "instruct_model" not in alone
    preferred = experiment_graph(load(tmp_path, TUNING + PREFERENCE))
    assert preferred["preference_model"].inputs == {
        "shards": "preference_reference", "tokenizer": "tokenizer", "start": "chat_model"
    }  # fmt: skip
    assert preferred["preference_reference"].inputs == {"shards": "preference_shards", "model": "chat_model"}
    assert preferred["preference_margins"].config["beta"] == 0.1
    assert "preference_margins" in preferred["training_report"].inputs
    plain = experiment_graph(load(tmp_path, ""))
    assert not [stage.name for stage in plain if stage.group == "tuning"]


def test_pairs_are_only_for_the_section_preference(tmp_path):
    text = TUNING.replace("batch_tokens: 512", "batch_tokens: 512, dpo: {}, packing: best_fit", 1)
    with pytest.raises(PedigreeError, match=r"instruct\.training\.dpo: only in the section 'preference'"):
        load(tmp_path, text)


PERSONA = "persona: {name: Ada, exchanges: [{user: a, assistant: b}]}\n  training: {mixture: {weights: {asked: 1}}, "


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (', answer: "{a}"', "", "give either prompt and answer, or messages, or dialogue"),
        ('prompt: "{q}"', 'prompt: "{q}", dialogue: d', "give either prompt and answer"),
        ('prompt: "{q}"', 'prompt: "{q"', r"instruct\.sources\.0\.prompt: the '\{' at character 0 has no partner"),
        ("messages: messages", "dialogue: d", "speakers: say how the turns"),
        ("messages: messages", 'dialogue: d, speakers: {"A:": user}', "at least one for user, and one for assistant"),
        ("messages: messages", "messages: m, where: [x]", "is not a condition"),
        ("messages: messages", "messages: m, role: r", "there is no such key"),
        ("name: asked", "name: persona", "none may be 'persona'"),
        ("batch_tokens: 512", "batch_tokens: 512, packing: concat", "cuts conversations; use best_fit or pad"),
        ("chat:", "chat:\n  template: nice", r"chat\.template: there is no template of this name; known: plain, "),
        ("chat:", "chat:\n  template: |\n    a\n    {% if %}", r"chat\.template: line 2: Expected an expression"),
        ("chat:", "chat:\n  template: chatml", r"chat\.template 'chatml' needs control tokens.*add <\|im_start\|>, "),
        ("chat:", "chat:\n  template: '{{ messages }}'", "must be one template"),
        ("training: {", PERSONA, "so persona.share can't; remove one of them"),
        ("sequence_length: 64", "sequence_length: 64, mixture: {weights: {web: 1}}", "no source is called web"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_an_error_with_its_field(tmp_path, old, new, told):
    text = TUNING.replace(old, new, 1)
    assert text != TUNING
    with pytest.raises(PedigreeError, match=told):
        load(tmp_path, text)


def test_heads_for_several_tokens_can_not_be_tuned(tmp_path):
    path = tmp_path / "tuned.yaml"
    path.write_text(MINIMAL.replace("model: {", "model: {multi_token: {depth: 1}, ") + TUNING)
    with pytest.raises(PedigreeError, match="a model with multi_token heads can't be tuned yet"):
        load_experiment(path)
