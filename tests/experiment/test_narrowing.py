import pytest

from llm_core.errors import PedigreeError
from llm_core.experiment.model import ModelSpec
from llm_core.experiment.model_presets import MODELS
from llm_core.experiment.narrowing import narrowed
from llm_core.model.accounting import parameter_count


@pytest.mark.parametrize("name", [name for name, model in MODELS.items() if model["d_model"] >= 1024])
@pytest.mark.parametrize("share", [8, 4, 2])
def test_every_large_preset_has_smaller_models_of_its_shape(name, share):
    model = ModelSpec(preset=name)
    smaller = narrowed(model, model.d_model // share)
    assert smaller.d_model == model.d_model // share
    before, after = parameter_count(model, 1024), parameter_count(smaller, 1024)
    # Width and depth: share³, but whole patterns, and at least one layer.
    expected = share**2 * model.n_layers / smaller.n_layers
    assert before.without_embeddings / after.without_embeddings == pytest.approx(expected, rel=0.15)
    assert {layer.mixer.kind for layer in smaller.layers} <= {layer.mixer.kind for layer in model.layers}


def test_heads_keep_their_channels_and_patterns_their_kinds():
    smaller = narrowed(ModelSpec(preset="mixattention_1b"), 512)
    assert [layer.mixer.heads() for layer in smaller.layers] == [(8, 2, 64)] * 8
    assert [layer.mixer.window for layer in smaller.layers] == [512, 512, 512, None, 512, 512, 512, None]
    assert smaller.feed_forward.d_ff == 2048
    kinds = [layer.mixer.kind for layer in narrowed(ModelSpec(preset="lfm2_1b"), 1024).layers]
    assert sorted(kinds) == ["attention"] * 3 + ["liv"] * 5


def test_the_depth_is_a_whole_number_of_patterns():
    model = ModelSpec(preset="tiny_llama3", n_layers=8, pattern=[{"dropout": 0.1}, {}])
    assert [narrowed(model, width).n_layers for width in (32, 48, 64, 96)] == [2, 4, 4, 6]


def test_ranks_and_heads_of_latent_attention_shrink():
    mla = {"kind": "mla", "n_heads": 8, "kv_rank": 64, "q_rank": 96, "nope_dim": 16, "rope_dim": 8, "value_dim": 16}
    model = ModelSpec(d_model=128, n_layers=4, mixer=mla, feed_forward={"kind": "gelu", "d_ff": 512})
    mixer = narrowed(model, 64).mixer
    assert (mixer.n_heads, mixer.kv_rank, mixer.q_rank, mixer.nope_dim) == (4, 32, 48, 16)


def test_what_cannot_be_narrowed_is_refused():
    with pytest.raises(PedigreeError, match="width 128 is not below the model's d_model 128"):
        narrowed(ModelSpec(preset="tiny_llama3"), 128)
    with pytest.raises(PedigreeError, match=r"can't have width 63 and 2 layers: .*63"):
        narrowed(ModelSpec(preset="tiny_llama3"), 63)
