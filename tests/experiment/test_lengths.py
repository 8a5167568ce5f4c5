import pytest

from llm_core.errors import PedigreeError
from llm_core.experiment.lengths import check_lengths
from llm_core.experiment.load import load_experiment
from llm_core.experiment.model import ModelSpec
from llm_core.experiment.training import TrainingSpec
from tests.model.shapes import spec

TEXT = """
name: a
raw: {{sources: [{{kind: python_docs}}]}}
model: {{d_model: 32, n_layers: 2, n_heads: 2, d_ff: 64, {model}}}
training: {{sequence_length: 128, batch_tokens: 1024, tokens: 100_000}}
proxies:
  model: {{d_model: 32, n_layers: 2, n_heads: 2, d_ff: 64}}
  training: {{sequence_length: 64, batch_tokens: 1024, tokens: 100_000}}
  variants: {{baseline: {{}}, windows: {{window: {window}}}}}
"""


def load(folder, model="", window=64, more=""):
    path = folder / "a.yaml"
    path.write_text(TEXT.format(model=model, window=window) + more)
    return load_experiment(path)


def test_a_window_may_be_as_long_as_a_sequence(tmp_path):
    load(tmp_path, "pattern: [{window: 128}, {}]")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"model": "pattern: [{}, {window: 129}]"},
            r"window of layer 1 is 129 tokens, .*training\.sequence_length 128",
        ),
        ({"window": 65}, r"proxies\.variants\.windows: proxies\.model: the window of layer 0 is 65 tokens"),
        ({"model": "position: learned, max_positions: 127"}, r"model\.max_positions 127: a sequence has 128 tokens"),
        (  # this comes first: to ask for fewer samples would not help
            {"model": "position: learned, max_positions: 64"},
            r"model\.max_positions 64: a sequence has 128 tokens",
        ),
        (
            {"model": "multi_token: {depth: 128}"},
            r"model\.multi_token\.depth 128: .* 128 tokens .* make it 127 or less",
        ),
        (
            {"model": "position: learned, max_positions: 128", "more": "sampling: {max_new_tokens: 128}"},
            r"sampling\.max_new_tokens: 129 tokens need as many positions, and model\.max_positions is 128",
        ),
        (
            {"model": "position: learned, max_positions: 128", "more": "tracking: {samples: {new_tokens: 113}}"},
            r"tracking\.samples: prompt_tokens and new_tokens: 129 tokens",
        ),
    ],
)
def test_what_does_not_go_with_the_sequences_is_refused_before_work(tmp_path, fields, message):
    with pytest.raises(PedigreeError, match=message):
        load(tmp_path, **fields)


def test_as_many_learned_positions_as_tokens_are_enough():
    fields = {"d_model": 32, "n_layers": 1, "n_heads": 2, "d_ff": 64, "position": "learned", "max_positions": 128}
    check_lengths(ModelSpec(**fields), TrainingSpec(sequence_length=128, batch_tokens=128, tokens=128))


def test_nor_do_bags_go_with_multi_token_prediction_on_longer_sequences(tmp_path):
    longer = "{sequence_length: 256, batch_tokens: 1024, tokens: 100_000, superposition: {tokens: 4, steps: 9}}"
    with pytest.raises(
        PedigreeError, match=r"long_context\.training\.superposition: does not go with long_context\.model"
    ):
        load(tmp_path, "multi_token: {depth: 1}", more=f"long_context: {{training: {longer}}}")


def test_a_single_expert_with_normalised_weights_is_described_but_not_trained() -> None:
    model = spec(feed_forward="moe", moe={"experts": 4, "top_k": 1, "d_ff": 8})
    with pytest.raises(ValueError, match=r"model\.moe\.top_k 1: .* say normalise: false"):
        check_lengths(model, TrainingSpec(sequence_length=64, batch_tokens=256, tokens=4096))
