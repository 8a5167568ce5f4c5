"""What a configuration of theirs says of a model of ours, and what it can't."""

from pathlib import Path
from typing import Any

import pytest

from llm_core.errors import PedigreeError
from llm_core.experiment.model import ModelSpec
from llm_core.experiment.model_presets import MODELS
from llm_core.model.hf.config import UnsupportedError
from llm_core.model.hf.facts import facts
from llm_core.model.hf.families import family_named, family_of, why_none
from llm_core.model.positions.nope.spec import Nope
from llm_core.model.positions.rope.spec import Rope, RopeScaling
from llm_core.plugins import load_plugins
from llm_core.registries import HF_FAMILIES
from llm_core.store.home import PROJECT
from tests.model import shapes
from tests.model.hf.parity import CASES, Case

LLAMA = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
LINEAR = {"rope_type": "linear", "factor": 8.0}
YARN = {"rope_type": "yarn", "factor": 2.0, "mscale": 0.5, "mscale_all_dim": 1.0}
EXPERTS = {"n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 8, "n_shared_experts": 1}


def read(kind: str, **config: Any) -> ModelSpec:
    return family_named(kind).read({**LLAMA, **config})


def test_every_family_has_its_models_among_those_that_are_compared_with_theirs() -> None:
    assert {case.kind for case in CASES} == set(HF_FAMILIES)


@pytest.mark.parametrize("name", HF_FAMILIES)
def test_a_family_has_the_name_of_its_architectures_and_is_documented(name: str) -> None:
    assert family_named(name).name == name
    lines = (PROJECT / "docs" / "models.md").read_text().splitlines()
    assert any(line.startswith("|") and f"`{name}`" in line.split("|")[1] for line in lines)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_model_that_is_written_and_read_back_is_the_same(case: Case) -> None:
    family = family_named(case.kind)
    spec = family.read(case.config)
    assert facts(family.read(family.write(spec))) == facts(spec)


PLUGIN = """
from dataclasses import replace
from llm_core.model.hf.llama import LLAMA

HF_FAMILIES = {"wide_llama": "wide:WIDE"}
WIDE = replace(LLAMA, name="wide_llama", always={**LLAMA.always, "norm_placement": "reordered"})
"""


def test_a_family_of_a_plugin_is_tried_after_the_others(plugin_folder: Path) -> None:
    (plugin_folder / "wide.py").write_text(PLUGIN)
    load_plugins(["wide"])
    assert list(HF_FAMILIES)[-1] == "wide_llama"
    assert family_of(shapes.spec(norm_placement="reordered")).name == "wide_llama"
    assert family_of(shapes.spec()).name == "llama"


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("llama", "llama"),
        ("multi_query", "qwen3"),
        ("wide_heads", "llama"),
        ("window", "mistral"),
        ("nope_every_second", "smollm3"),
        ("gpt2", "gpt2"),
        ("far_rope", "llama"),
        ("rwkv4", "rwkv"),
    ],
)
def test_the_first_family_that_says_all_is_chosen(name: str, family: str) -> None:
    spec = shapes.named(name, **({"mixer": {"n_kv_heads": 4}} if name == "gpt2" else {}))
    chosen = family_of(spec)
    assert chosen.name == family
    assert facts(chosen.read(chosen.write(spec))) == facts(spec)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("mixattention", "mixer.share_kv True would be False"),
        ("reordered", "norm_placement reordered is not pre"),
        ("sinusoidal", "absolute_position.kind sinusoidal would be none"),
        ("value_embeddings_in_windows", "mixer.value_embedding"),
        ("ngram_embedding", "ngram_embedding"),
    ],
)
def test_what_no_family_has_is_told_for_each(name: str, reason: str) -> None:
    with pytest.raises(PedigreeError, match="transformers has no architecture for this model") as caught:
        family_of(shapes.named(name))
    lines = str(caught.value).splitlines()[1:]
    assert [line.split(":")[0] for line in lines] == list(HF_FAMILIES)
    assert reason in str(caught.value)


@pytest.mark.parametrize(("name", "family"), [("mla", "deepseek_v2"), ("mamba2", "mamba2")])
def test_a_mixer_may_stand_in_the_pattern_alone(name: str, family: str) -> None:
    mixer = shapes.named(name).mixer.model_dump(mode="json")
    if name == "mla":
        yarn = {"kind": "yarn", "factor": 2.0, "original_length": 8, "high_frequency": 32.0}
        mixer |= {"position": {"kind": "rope", "scaling": yarn}}
    rest = {"norm": {"kind": "rmsnorm", "eps": 1e-6}, "feed_forward": shapes.named(name).feed_forward}
    spec = shapes.spec(**rest, pattern=({"mixer": mixer},))
    assert spec.mixer.kind == "attention"
    assert family_of(spec).name == family


def test_training_alone_does_not_matter() -> None:
    spec = shapes.spec(dropout=0.1, document_mask=True, init_std=0.5)
    assert family_of(spec).name == "llama"
    assert facts(spec) == facts(shapes.spec())


@pytest.mark.parametrize("family", ["llama", "mistral", "qwen3", "smollm3", "gemma2", "mixtral"])
def test_dropout_of_attention_is_taken_over_and_written(family: str) -> None:
    assert read(family).mixer.dropout == 0.0
    assert read(family, attention_dropout=None).mixer.dropout == 0.0
    spec = read(family, attention_dropout=0.1)
    assert spec.mixer.dropout == 0.1
    assert family_named(family).write(spec)["attention_dropout"] == 0.1


def test_gpt2_has_dropout_of_attention_by_default() -> None:
    shape = {"n_embd": 32, "n_head": 4, "n_layer": 2}
    gpt2 = family_named("gpt2")
    assert gpt2.read(shape).mixer.dropout == 0.1
    assert gpt2.read({**shape, "attn_pdrop": 0.0}).mixer.dropout == 0.0
    assert gpt2.write(gpt2.read(shape))["attn_pdrop"] == 0.1


def test_stream_scales_are_no_part_of_any_family() -> None:
    assert "stream_scales" in why_none(shapes.spec(stream_scales={}))
    assert "norm.gain" in why_none(shapes.spec(norm={"kind": "rmsnorm", "gain": False}))


def test_modules_for_further_tokens_are_no_part_of_any_family() -> None:
    assert "multi_token" in why_none(shapes.spec(multi_token={"depth": 1}))


@pytest.mark.parametrize("name", sorted(MODELS))
def test_every_model_by_name_is_answered(name: str) -> None:
    expected = {"llama3_0.69b", "llama3_1b", "tiny_llama3", "lfm2_1b", "tiny_lfm2"}
    assert (why_none(ModelSpec.model_validate({"preset": name})) == "") == (name in expected)


def test_angles_decide_and_not_how_they_are_said() -> None:
    scaling = {"kind": "ntk", "factor": 2.0, "original_length": 8}
    ntk = shapes.spec(mixer={"position": {"kind": "rope", "scaling": scaling}})
    written = family_of(ntk).write(ntk)
    assert written["rope_theta"] == pytest.approx(10_000 * 2 ** (8 / 6))
    assert "rope_scaling" not in written
    old = read("llama", rope_theta=5e5, rope_scaling={"type": "linear", "factor": 2.0})
    new = read("llama", rope_parameters={"rope_type": "linear", "factor": 2.0, "rope_theta": 5e5})
    assert facts(old) == facts(new)


def test_older_forms_say_the_same() -> None:
    bases = {"sliding_attention": {"rope_theta": 300.0}, "full_attention": {"rope_theta": 5e5, **LINEAR}}
    new = read("gemma3_text", layer_types=["sliding_attention", "full_attention"] * 2, rope_parameters=bases)
    old = {"rope_theta": 5e5, "rope_local_base_freq": 300.0, "rope_scaling": LINEAR}
    assert facts(read("gemma3_text", sliding_window_pattern=2, **old)) == facts(new)
    assert [layer.mixer.position.theta for layer in new.layers] == [300.0, 5e5] * 2
    parameters = {"rope_theta": 500.0, "partial_rotary_factor": 0.5}
    pythia = read("gpt_neox", rope_parameters=parameters)
    assert facts(read("gpt_neox", rotary_emb_base=500.0, rotary_pct=0.5)) == facts(pythia)
    sizes = {"num_experts_per_tok": 2, "decoder_sparse_step": 2}
    assert facts(read("qwen3_moe", num_local_experts=4, **sizes)) == facts(read("qwen3_moe", num_experts=4, **sizes))


def windows_of(spec: ModelSpec) -> list[int | None]:
    return [layer.mixer.window for layer in spec.layers]


def test_windows_by_layer() -> None:
    windows = {"use_sliding_window": True, "sliding_window": 7}
    spec = read("qwen3", **windows, max_window_layers=2)
    assert windows_of(spec) == [None, None, 7, 7]
    spec = read("qwen3", **windows, layer_types=["sliding_attention", "full_attention"] * 2)
    assert spec.pattern == ({"mixer": {"window": 7}}, {})
    assert windows_of(read("qwen3", sliding_window=7)) == [None] * 4
    assert windows_of(read("gemma2", sliding_window=5)) == [5, None, 5, None]
    smol = read("smollm3", **windows)
    assert windows_of(smol) == [None] * 3 + [7]
    assert [layer.mixer.position.kind for layer in smol.layers] == ["rope"] * 3 + ["nope"]


@pytest.mark.parametrize(
    ("kind", "config", "message"),
    [
        ("llama", {"hidden_act": "gelu"}, "hidden_act is 'gelu'; only 'silu'"),
        ("llama", {"attention_bias": True}, "attention_bias and mlp_bias differ"),
        ("llama", {"hidden_size": None}, "d_model"),
        ("llama", {"num_hidden_layers": None}, "num_hidden_layers is None"),
        ("llama", {"num_attention_heads": 5}, "must be a multiple of n_heads 5"),
        ("llama", {"num_attention_heads": None}, r"mixer: attention: n_heads: .*valid integer \(it is None\)$"),
        ("llama", {"rope_scaling": {"rope_type": "longrope", "factor": 2.0}}, "rope_type 'longrope'"),
        ("llama", {"rope_scaling": {"rope_type": "llama3", "factor": 2.0}}, "low_freq_factor is missing"),
        ("llama", {"rope_scaling": {"rope_type": "linear"}}, "rope_scaling: factor is missing"),
        ("llama", {"rope_scaling": {"rope_type": "yarn", "factor": 2.0, "mscale": 0.7}}, "mscale"),
        ("llama", {"partial_rotary_factor": 0.5}, "partial_rotary_factor"),
        ("gemma2", {"sliding_window": 4, "layer_types": ["full_attention"]}, "layer_types has 1 entries for 4 layers"),
        ("gemma2", {"sliding_window": 4, "layer_types": ["chunked_attention"] * 4}, "'chunked_attention' is unknown"),
        ("smollm3", {"no_rope_layers": [1, 2, 1, 1]}, "no_rope_layers: 2 is unknown"),
        ("gemma2", {"use_bidirectional_attention": True}, "use_bidirectional_attention"),
        ("deepseek_v3", {"rms_norm_eps": 1e-5}, "rms_norm_eps is 1e-05"),
        ("deepseek_v2", {"first_k_dense_replace": 4, "rope_scaling": YARN}, "mscale 0.5 and mscale_all_dim 1.0"),
        ("deepseek_v2", {"topk_method": "group_limited_greedy", **EXPERTS}, "topk_method is 'group_limited_greedy'"),
        ("deepseek_v3", {"n_group": 4, "topk_group": 2, **EXPERTS}, "topk_group: 2 of 4 groups"),
        ("mpt", {"d_model": 32, "n_heads": 4, "n_layers": 2, "attn_config": {"alibi": False}}, "attn_config.alibi"),
        ("mamba2", {"num_heads": 8, "head_dim": 8, "time_step_limit": [0.0, 1.0]}, "time_step_limit"),
        ("mamba2", {"num_heads": 9, "head_dim": 8}, "num_heads · head_dim is 72"),
        (
            "phi3",
            {"rope_scaling": {"rope_type": "longrope", "short_factor": [1.0]}},
            "rope_type 'longrope'; known: default",
        ),
        ("olmoe", {"clip_qkv": 8.0}, "clip_qkv is 8.0; only None"),
        ("olmo3", {"rope_parameters": {"rope_type": "default"}}, "those of full_attention and of sliding_attention"),
        ("gpt_neox", {"hidden_act": "relu"}, "hidden_act is 'relu'; only 'gelu' and 'gelu_fast'"),
        ("gpt_neox", {"rotary_pct": 0.4}, "share 0.4 of head_dim 8 is"),
        ("bloom", {"n_layer": 2, "apply_residual_connection_post_layernorm": True}, "apply_residual_connection"),
        ("falcon", {"alibi": True}, "alibi: transformers rounds Falcon's biases"),
        ("falcon", {"new_decoder_architecture": True, "parallel_attn": False}, "transformers has no such block"),
        ("falcon", {"num_ln_in_parallel_attn": 2}, "num_ln_in_parallel_attn 2 without new_decoder_architecture"),
        ("granite", {"residual_multiplier": 0.0}, "residual_scale"),
        ("mamba", {"use_conv_bias": False}, "use_conv_bias is False"),
        ("rwkv", {"attention_hidden_size": 64}, "attention_hidden_size is 64; only hidden_size, 32, can be imported"),
        ("rwkv", {"layer_norm_epsilon": 1e-6}, "layer_norm_epsilon is 1e-06; only 1e-05"),
    ],
)
def test_what_a_model_here_has_not_is_refused(kind: str, config: dict[str, Any], message: str) -> None:
    with pytest.raises(UnsupportedError, match=message):
        read(kind, **config)


def test_unknown_architectures_are_refused_with_the_known_ones() -> None:
    with pytest.raises(PedigreeError, match=r"model_type 'bert' can't be imported; known: llama, mistral"):
        family_named("bert")


def test_scales_that_a_family_has_no_number_for_are_a_reason_and_no_accident() -> None:
    gemma = {
        "norm_placement": "sandwich",
        "feed_forward": {"kind": "geglu", "d_ff": 48},
        "embedding_scale": 32**0.5,
    }
    for scale in (2.0, 1e-200):
        assert f"mixer.scale {scale} would be" in why_none(shapes.spec(**gemma, mixer={"scale": scale}))
    flat = {"kind": "yarn", "factor": 1.0, "original_length": 8, "high_frequency": 32.0}
    mixer = {"scale": 0.7, "position": {"kind": "rope", "scaling": flat}}
    latent = shapes.named("mla", norm={"kind": "rmsnorm", "eps": 1e-6}, mixer=mixer)
    assert "mixer.scale 0.7 would be" in why_none(latent)


def test_a_stretched_model_whose_every_fourth_layer_has_no_positions() -> None:
    found = read("smollm3", rope_scaling={"rope_type": "linear", "factor": 2.0})
    scaling = RopeScaling(kind="linear", factor=2.0, original_length=1)
    assert [layer.mixer.position for layer in found.layers] == [Rope(theta=2e6, scaling=scaling)] * 3 + [Nope()]
    assert family_of(found).name == "smollm3"
