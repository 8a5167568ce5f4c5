"""What of a model's section is refused, and what follows from it."""

from typing import Any

import pytest

from llm_core.experiment.base import canonical
from llm_core.experiment.component import Component, over
from llm_core.experiment.model import ModelSpec
from llm_core.model.mixers.attention.spec import Attention
from tests.model.shapes import MLA, spec

YARN = {"kind": "yarn", "factor": 4.0, "original_length": 16, "high_frequency": 32.0}
NTK = {"kind": "ntk", "factor": 2.0, "original_length": 16}
LIV = {"kind": "liv", "kernel": 3}


def rope(**settings: Any) -> dict[str, Any]:
    return {"position": {"kind": "rope", **settings}}


def attention(**settings: Any) -> dict[str, Any]:
    """An entry of a pattern."""
    return {"mixer": settings}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"pattern": (attention(n_kv_heads=0), {})}, r"pattern\[0\]\.mixer: attention: n_kv_heads: .*or equal to 1"),
        ({"pattern": ({}, attention(n_heads=0))}, r"pattern\[1\]\.mixer: attention: n_heads: .*or equal to 1"),
        ({"pattern": (attention(n_heads="4"), {})}, r"pattern\[0\]\..* n_heads: .*valid integer \(it is '4'\)"),
        (
            {"pattern": ({"times": 1}, attention(**rope(scaling={"kind": "yarn", "original_length": 16})))},
            r"pattern\[1\]\.mixer: attention: position: rope: scaling\.factor: Field required",
        ),
        (
            {"pattern": (attention(**rope(scaling={**YARN, "foo": 1})), {})},
            r"pattern\[0\]\.mixer: .* scaling\.foo: there is no such",
        ),
        (
            {"pattern": ({}, attention(position="sine"))},
            r"pattern\[1\]\.mixer: attention: position: unknown position encoding 'sine'; known: al",
        ),
        ({"pattern": ({"n_heads": 4}, {})}, r"pattern\[0\]: n_heads: no layer has such a field; known: mixer, feed_f"),
        (
            {"feed_forward": None, "pattern": ({}, {"feed_forward": {"d_ff": 8}})},
            r"pattern\[1\]\.feed_forward: kind is missing; choose one of: geglu",
        ),
        ({"n_layers": 10**7}, "n_layers\n.*less than or equal to 1000"),
        (
            {"mixer": {"window": 8}, "pattern": (attention(**LIV, window=8), {})},
            r"pattern\[0\]\.mixer: liv: window: there is no such key",
        ),
        ({"mixer": {**LIV, "window": 8}}, "mixer\n.*liv: window: there is no such key"),
        (
            {"preset": "tiny_mixattention", "n_layers": 8, "mixer": "liv"},
            r"pattern\[0\]\.mixer: liv: window: there is no such key",
        ),
        ({"pattern": ({"times": True}, {})}, r"pattern\[0\]: times must be a whole number"),
        (
            {"pattern": (attention(n_heads=6), {})},
            "layer 0: d_model 32 must be a multiple of n_heads 6, or give head_d",
        ),
        ({"mixer": {"n_heads": 64}}, "d_model 32 must be a multiple of n_heads 64"),
        ({"mixer": {"head_dim": 3}}, "rope turns pairs: head_dim 3 must be even"),
        ({"mixer": {"position": {"kind": "rope", "share": 0.1}}}, "share 0.1 of head_dim 8 is 0 must be .* above 0"),
        ({"parallel": True, "norm_placement": "post"}, "parallel: its branches have no stream of their own"),
        ({"mixer": {"head_dim": 2, **rope(scaling=NTK)}}, "'ntk' stretches all pairs of channels but one"),
        ({"mixer": {**MLA, "rope_dim": 2, **rope(scaling=NTK)}}, "'ntk' stretches all pairs .*: 2 channels are one"),
        ({"mixer": rope(theta=1.0, scaling=YARN)}, "theta must be above 1"),
        (
            {"mixer": {"position": {"kind": "nope", "scaling": YARN}}},
            "mixer\n.*position: nope: scaling: there is no su",
        ),
        ({"mixer": {**LIV, **rope(scaling=YARN)}}, "mixer\n.*liv: position: there is no such key"),
        (
            {"pattern": (attention(position={"kind": "nope", "scaling": YARN}), {})},
            r"pattern\[0\]\.mixer: attention: position: nope: scaling: there is no such key",
        ),
        ({"pattern": (attention(**LIV, n_heads=2), {})}, r"pattern\[0\]\.mixer: liv: n_heads: there is no such key"),
        (
            {"mixer": LIV, "pattern": (attention(position="nope"),)},
            r"pattern\[0\]\.mixer: liv: position: there is no such key",
        ),
        ({"mixer": {**MLA, "position": "alibi"}}, "mla supports positions that rotate keys, and nope, but not 'alibi'"),
        ({"pattern": (attention(share_kv=True), {})}, "layer 0: share_kv: no layer before it"),
        ({"preset": ["tiny_llama3"]}, r"unknown preset \['tiny_llama3'\]; known: hyena_1b, lfm2_1b"),
        ({"dropout": 1.0}, "dropout"),
        ({"mixer": {"dropout": 1.0}}, "mixer\n.*attention: dropout: Input should be less than 1"),
        ({"mixer": {**LIV, "dropout": 0.1}}, "mixer\n.*liv: dropout: there is no such key"),
        ({"pattern": ({"dropout": 1.0}, {})}, r"pattern\[0\]\.dropout"),
        ({"pattern": ({"norm": {"eps": 0.0}}, {})}, r"pattern\[0\]\.norm: rmsnorm: eps: .*greater than 0"),
        ({"mixer": "attention"}, "mixer\n.*attention: n_heads: Field required"),
        (
            {"mixer": {"kind": "atention"}},
            "mixer\n.*unknown mixer 'atention'; known: attention, hyena, liv, mamba, mamba2, mla, retention",
        ),
        ({"mixer": 5}, "mixer\n.*give the name of a mixer, or a mapping with kind and settings"),
        ({"mixer": {"scale": float("nan")}}, "mixer\n.*attention: scale: .*finite number"),
        ({"feed_forward": {"kind": "moe", "experts": 2, "top_k": 3, "d_ff": 8}}, "moe: top_k 3 is more than experts 2"),
        (
            {"mixer": {"value_embedding": {}}, "pattern": ({}, attention(share_kv=True))},
            "layer 1: value_embedding: a layer with share_kv has no values of its own; set value_embedding: null there",
        ),
        (
            {"mixer": {"value_embedding": {"gate_channels": 33}}},
            "value_embedding.gate_channels 33 is more than d_model 32",
        ),
        ({"mixer": {**MLA, "value_embedding": {}}}, "mla: value_embedding: there is no such key"),
        ({"init": {"head_std": 0.1}}, "init.head_std: a tied head has no weights of its own"),
        ({"init": {"matrices": "orthogonal"}}, "init.matrices\n.*'normal' or 'fan_in'"),
        ({"stream_scales": {"residual": [1.0]}}, "stream_scales.residual"),
        (
            {"pattern": ({"stream_scales": {"inputs": 1.0}}, {})},
            r"pattern\[0\]\.stream_scales\.inputs: there is no",
        ),
        ({"absolute_position": "learned"}, "absolute_position\n.*learned: max_positions: Field required"),
        ({"absolute_position": "rope"}, "unknown absolute position encoding 'rope'; known: learned, sinusoidal"),
    ],
)
def test_contradictions_are_told(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        spec(**fields)


def test_heads_of_a_layer_may_have_a_width_of_their_own() -> None:
    layers = spec(pattern=(attention(n_heads=6, head_dim=8), {})).layers
    assert [layer.mixer.heads() for layer in layers if isinstance(layer.mixer, Attention)] == [(6, 2, 8), (4, 2, 8)]


def test_a_scaling_is_that_of_the_layers_with_positions() -> None:
    """So that a model whose every fourth layer has none can be stretched."""
    found = spec(n_layers=4, mixer=rope(scaling=YARN), pattern=({"times": 3}, attention(position="nope")))
    positions = [layer.mixer.position_of() for layer in found.layers]
    assert [getattr(position, "scaling", None) is not None for position in positions] == [True, True, True, False]
    again = ModelSpec.model_validate_json(found.model_dump_json())
    assert again == found


def test_settings_of_a_pattern_stand_over_the_models_and_another_kind_stands_alone() -> None:
    experts = {"kind": "moe", "experts": 4, "top_k": 2, "d_ff": 16}
    first, second = spec(
        mixer={"window": 8, "qk_norm": True, **rope(theta=500.0)},
        norm={"kind": "layernorm", "eps": 1e-6},
        pattern=(
            {
                "mixer": {"n_kv_heads": 1, "position": {"scaling": YARN}},
                "feed_forward": {"d_ff": 40},
                "norm": {"eps": 1e-4},
            },
            {"mixer": MLA, "feed_forward": experts, "norm": "rmsnorm"},
        ),
    ).layers
    told = first.mixer.model_dump()
    assert (told["window"], told["qk_norm"], told["n_heads"], told["n_kv_heads"]) == (8, True, 4, 1)
    assert (told["position"]["theta"], told["position"]["scaling"]["factor"]) == (500.0, 4.0)
    assert first.feed_forward.model_dump() == {"kind": "swiglu", "d_ff": 40}
    assert (first.norm.kind, first.norm.eps) == ("layernorm", 1e-4)
    told = second.mixer.model_dump()
    assert (told["window"], told["position"]["theta"]) == (None, 10_000.0)
    assert second.feed_forward.model_dump().items() > experts.items()
    assert (second.norm.kind, second.norm.eps) == ("rmsnorm", 1e-5)


@pytest.mark.parametrize(
    ("below", "above", "both"),
    [
        ({"kind": "a", "x": 1}, {"y": 2}, {"kind": "a", "x": 1, "y": 2}),
        ({"kind": "a", "x": 1}, {"kind": "a", "y": 2}, {"kind": "a", "x": 1, "y": 2}),
        ({"kind": "a", "x": 1}, {"kind": "b", "y": 2}, {"kind": "b", "y": 2}),
        ({"kind": "a", "x": 1}, "b", "b"),
        ("a", {"y": 2}, {"kind": "a", "y": 2}),
        ("a", {"kind": "b", "y": 2}, {"kind": "b", "y": 2}),
        (
            {"kind": "a", "in": {"kind": "p", "x": 1}},
            {"in": {"z": 3}},
            {"kind": "a", "in": {"kind": "p", "x": 1, "z": 3}},
        ),
        ({"kind": "a", "in": "p"}, {"in": {"kind": "q"}}, {"kind": "a", "in": {"kind": "q"}}),
        ({"kind": "a", "x": 1}, {"x": None}, {"kind": "a", "x": None}),
        ({"kind": "a", "x": 1}, None, None),
        (None, {"kind": "a"}, {"kind": "a"}),
    ],
)
def test_what_stands_over_a_component(below: Any, above: Any, both: Any) -> None:
    assert over(below, above) == both


def test_a_preset_takes_settings_of_the_same_kind_and_gives_way_to_another() -> None:
    preset = ModelSpec.model_validate({"preset": "tiny_llama3"})
    narrow = ModelSpec.model_validate({"preset": "tiny_llama3", "mixer": {"window": 64}, "feed_forward": {"d_ff": 300}})
    assert narrow.mixer.model_dump() == {**preset.mixer.model_dump(), "window": 64}
    assert narrow.feed_forward is not None
    assert narrow.feed_forward.model_dump() == {"kind": "swiglu", "d_ff": 300}
    other = ModelSpec.model_validate(
        {"preset": "tiny_llama3", "feed_forward": {"kind": "gelu", "d_ff": 400}, "mixer": LIV}
    )
    assert other.feed_forward is not None
    assert (other.mixer.model_dump(), other.feed_forward.model_dump()) == (LIV, {"kind": "gelu", "d_ff": 400})


def test_a_component_is_given_by_name_by_settings_or_itself() -> None:
    plain: Component = spec().norm
    for given in ("rmsnorm", {"kind": "rmsnorm"}, {"kind": "rmsnorm", "eps": 1e-5}, plain):
        assert spec(norm=given).norm == plain
    assert spec(norm="rmsnorm").norm.eps == 1e-5


def test_a_mapping_without_kind_is_of_the_default_one() -> None:
    found = spec(norm={"eps": 1e-6}, mixer={"position": {"theta": 7.0}})
    assert (found.norm.kind, found.norm.eps) == ("rmsnorm", 1e-6)
    assert found.layers[0].mixer.position.model_dump() == {"kind": "rope", "theta": 7.0, "scaling": None, "share": 1.0}


def test_features_that_are_off_are_no_part_of_an_identity() -> None:
    names = ("value_embedding", "stream_scales", "init", "gain")
    off, on = (str(canonical(found)) for found in (spec(), spec(init={"residual_writers": "zero"})))
    assert not any(f"'{name}'" in off for name in names)
    assert "'init': {'residual_writers': 'zero'}" in on


def test_a_pattern_turns_features_on_and_off() -> None:
    found = spec(
        mixer={"value_embedding": {"gate_scale": 2.0}},
        stream_scales={"residual": [1.5, 1.0]},
        pattern=(attention(value_embedding=None), {"stream_scales": None}),
    )
    first, second = found.layers
    assert (first.mixer.value_width(), second.mixer.value_width()) == (0, 2 * 8)
    assert first.stream_scales is not None
    assert first.stream_scales.residual == (1.5, 1.0)
    assert second.stream_scales is None
    assert ModelSpec.model_validate_json(found.model_dump_json()) == found
