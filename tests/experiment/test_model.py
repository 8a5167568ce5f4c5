"""What of a model's section is refused, and what follows from it."""

from typing import Any

import pytest

from llm_core.experiment.base import canonical
from llm_core.experiment.model import ModelSpec
from tests.model.shapes import spec

YARN = {"kind": "yarn", "factor": 4.0, "original_length": 16, "high_frequency": 32.0}
NTK = {"kind": "ntk", "factor": 2.0, "original_length": 16}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"pattern": ({"n_kv_heads": 0}, {})}, r"pattern\[0\]\.n_kv_heads: .*greater than or equal to 1"),
        ({"pattern": ({}, {"n_heads": 0})}, r"pattern\[1\]\.n_heads: .*greater than or equal to 1"),
        ({"pattern": ({"n_heads": "4"}, {})}, r"pattern\[0\]\.n_heads: .*valid integer \(it is '4'\)"),
        (
            {"pattern": ({"times": 1}, {"rope_scaling": {"kind": "yarn", "original_length": 16}})},
            r"pattern\[1\]\.rope_scaling\.factor: Field required",
        ),
        ({"pattern": ({"rope_scaling": {**YARN, "foo": 1}}, {})}, r"pattern\[0\]\.rope_scaling\.foo: there is no such"),
        (
            {"pattern": ({}, {"position": "sine"})},
            r"pattern\[1\]\.position: unknown position encoding 'sine'; known: al",
        ),
        ({"pattern": ({"feed_forward": None, "d_ff": 8}, {})}, r"pattern\[0\]: d_ff: feed_forward is null"),
        ({"feed_forward": None, "pattern": ({}, {"d_ff": 8})}, r"pattern\[1\]: d_ff: feed_forward is null"),
        ({"n_layers": 10**7}, "n_layers\n.*less than or equal to 1000"),
        (
            {"liv": {}, "window": 8, "pattern": ({"mixer": "liv"}, {})},
            "put it into the pattern's entries with attention",
        ),
        ({"liv": {}, "window": 8, "mixer": "liv"}, "not to mixer 'liv': leave it out"),
        (
            {"preset": "tiny_mixattention", "n_layers": 8, "mixer": "liv", "liv": {}},
            r"leave it out, or a preset's pattern by pattern: \[\]",
        ),
        ({"pattern": ({"times": True}, {})}, r"pattern\[0\]: times must be a whole number"),
        ({"pattern": ({"n_heads": 6}, {})}, "layer 0: d_model 32 is not a multiple of n_heads 6; or give head_dim"),
        ({"n_heads": 64}, "d_model 32 is not a multiple of n_heads 64"),
        ({"head_dim": 2, "rope_scaling": NTK}, "'ntk' stretches all pairs of channels but one"),
        ({"rope_theta": 1.0, "rope_scaling": YARN}, "rope_theta must be above 1"),
        ({"rope_scaling": YARN, "position": "nope"}, "rope_scaling belongs to position 'rope'"),
        ({"rope_scaling": YARN, "mixer": "liv", "liv": {"kernel": 3}}, "rope_scaling belongs to position 'rope'"),
        ({"pattern": ({"position": "nope", "rope_scaling": YARN}, {})}, "layer 0: rope_scaling belongs to position"),
        ({"liv": {}, "pattern": ({"mixer": "liv", "n_heads": 2}, {})}, r"pattern\[0\]: .* 'liv' does not read n_heads"),
        ({"liv": {}, "mixer": "liv", "pattern": ({"position": "nope"},)}, "mixer 'liv' does not read position; leave"),
        ({"preset": ["tiny_llama3"]}, r"unknown preset \['tiny_llama3'\]; known: lfm2_1b"),
        ({"dropout": 1.0}, "dropout"),
        ({"attention_dropout": 1.0}, "attention_dropout"),
        ({"attention_dropout": 0.1, "mixer": "liv", "liv": {}}, "attention_dropout: no layer attends"),
        ({"pattern": ({"dropout": 1.0}, {})}, r"pattern\[0\]\.dropout"),
    ],
)
def test_contradictions_are_told(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        spec(**fields)


def test_heads_of_a_layer_may_have_a_width_of_their_own() -> None:
    layers = spec(pattern=({"n_heads": 6, "head_dim": 8}, {})).layers
    assert [layer.heads for layer in layers] == [(6, 2, 8), (4, 2, 8)]


def test_a_scaling_is_that_of_the_layers_with_positions() -> None:
    """So that a model whose every fourth layer has none can be stretched."""
    found = spec(n_layers=4, rope_scaling=YARN, pattern=({"times": 3}, {"position": "nope"}))
    assert [layer.rope_scaling is not None for layer in found.layers] == [True, True, True, False]
    again = ModelSpec.model_validate_json(found.model_dump_json())
    assert again == found


def test_no_dropout_of_attention_is_as_before_there_was_such_a_field() -> None:
    assert "attention_dropout" not in canonical(spec())
    assert canonical(spec(attention_dropout=0.1))["attention_dropout"] == 0.1
