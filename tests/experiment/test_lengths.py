import pytest

from llm_core.errors import PedigreeError
from llm_core.experiment.lengths import check_lengths
from llm_core.experiment.load import load_experiment
from llm_core.experiment.training import TrainingSpec
from tests.model.shapes import named, spec

TEXT = """
name: a
raw: {{sources: [{{kind: python_docs}}]}}
model: {{d_model: 32, n_layers: 2, mixer: {{{mixer}}}, feed_forward: {{kind: swiglu, d_ff: 64}}, {model}}}
training: {{sequence_length: 128, batch_tokens: 1024, tokens: 100_000}}
"""


ATTENTION = "kind: attention, n_heads: 2"


def load(folder, model="", more="", mixer=ATTENTION):
    path = folder / "a.yaml"
    path.write_text(TEXT.format(mixer=mixer, model=model) + more)
    return load_experiment(path)


def learned(positions):
    absolute = f"absolute_position: {{kind: learned, max_positions: {positions}}}"
    return {"mixer": f"{ATTENTION}, position: nope", "model": absolute}


def test_a_window_may_be_as_long_as_a_sequence(tmp_path):
    load(tmp_path, "pattern: [{mixer: {window: 128}}, {}]")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"model": "pattern: [{}, {mixer: {window: 129}}]"},
            r"window of layer 1 is 129 tokens, .*training\.sequence_length 128",
        ),
        (learned(127), r"model: can read 127 tokens .* a sequence has 128 \(training\.sequence_length\)"),
        (  # this comes first: to ask for fewer samples would not help
            learned(64),
            r"model: can read 64 tokens .* a sequence has 128",
        ),
        (
            {"model": "multi_token: {depth: 128}"},
            r"model\.multi_token\.depth 128: .* 128 tokens .* make it 127 or less",
        ),
        (
            {**learned(128), "more": "sampling: {max_new_tokens: 128}"},
            r"sampling\.max_new_tokens: 129 tokens, but the model can read at most 128",
        ),
        (
            {**learned(128), "more": "tracking: {callbacks: {samples: {new_tokens: 113}}}"},
            r"tracking\.callbacks\.samples: prompt_tokens and new_tokens: 129 tokens, but the model can read at most",
        ),
        (
            {"mixer": "kind: hyena, max_length: 127"},
            r"model: can read 127 tokens .* a sequence has 128 \(training\.sequence_length\)",
        ),
        (
            {"mixer": "kind: hyena, max_length: 128", "more": "sampling: {max_new_tokens: 128}"},
            r"sampling\.max_new_tokens: 129 tokens, but the model can read at most 128",
        ),
        (
            {
                "mixer": "kind: hyena, max_length: 128",
                "more": "long_context: {training: {sequence_length: 256, batch_tokens: 1024, tokens: 100_000}}",
            },
            r"long_context\.training: sequence_length 256: the model can read 128 tokens",
        ),
    ],
)
def test_what_does_not_go_with_the_sequences_is_refused_before_work(tmp_path, fields, message):
    with pytest.raises(PedigreeError, match=message):
        load(tmp_path, **fields)


def test_filters_may_be_longer_than_a_sequence(tmp_path):
    load(tmp_path, mixer="kind: hyena, max_length: 256", more="sampling: {max_new_tokens: 128}")


def test_as_many_learned_positions_as_tokens_are_enough():
    check_lengths(
        named("gpt2", absolute_position={"max_positions": 128}),
        TrainingSpec(sequence_length=128, batch_tokens=128, tokens=128),
    )


def test_nor_do_bags_go_with_multi_token_prediction_on_longer_sequences(tmp_path):
    longer = "{sequence_length: 256, batch_tokens: 1024, tokens: 100_000, superposition: {tokens: 4, steps: 9}}"
    with pytest.raises(
        PedigreeError, match=r"long_context\.training\.superposition: does not go with long_context\.model"
    ):
        load(tmp_path, "multi_token: {depth: 1}", more=f"long_context: {{training: {longer}}}")


def test_a_single_expert_with_normalised_weights_is_described_but_not_trained() -> None:
    model = spec(feed_forward={"kind": "moe", "experts": 4, "top_k": 1, "d_ff": 8})
    with pytest.raises(ValueError, match=r"model: the feed_forward of layer 0: top_k 1: .* say normalise: false"):
        check_lengths(model, TrainingSpec(sequence_length=64, batch_tokens=256, tokens=4096))
