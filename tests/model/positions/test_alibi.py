import pytest
import torch

from llm_core.model.positions.alibi.module import alibi_slopes
from tests.model.shapes import model, named, tokens


def test_slopes_of_the_paper() -> None:
    assert alibi_slopes(8).tolist() == [2.0**-power for power in range(1, 9)]
    assert alibi_slopes(16)[:2].tolist() == pytest.approx([2**-0.5, 0.5])


def test_a_number_of_heads_that_is_no_power_of_two() -> None:
    assert alibi_slopes(6).tolist() == pytest.approx([0.25, 0.0625, 0.015625, 0.00390625, 0.5, 0.125])


def test_scores_fall_by_the_slope_with_distance() -> None:
    """With queries of zero, weights follow from the distances alone."""
    built = model(named("alibi", n_layers=1, mixer={"n_kv_heads": 6}))
    attention = built.blocks[0].mixer
    with torch.no_grad():
        attention.qkv.weight[: attention.n_heads * attention.head_dim] = 0
    x = torch.randn(1, 5, 48)
    context = built.context(tokens(1, 5), None, None)
    mixed, (_keys, values) = attention(x, None, context)
    slopes = alibi_slopes(6)
    weights = torch.softmax(-slopes[:, None] * torch.tensor([4.0, 3.0, 2.0, 1.0, 0.0]), dim=-1)
    expected = torch.einsum("hs,hsc->hc", weights, values[0]).flatten() @ attention.output.weight.T
    torch.testing.assert_close(mixed[0, -1], expected, atol=1e-5, rtol=1e-4)
