import torch

from llm_core.model.feed_forward import SwiGLU


def test_matches_the_formula() -> None:
    torch.manual_seed(0)
    layer, x = SwiGLU(6, 10), torch.randn(2, 3, 6)
    gate, up = layer.gate_up.weight[:10], layer.gate_up.weight[10:]
    gated = x @ gate.T
    expected = (gated / (1 + torch.exp(-gated)) * (x @ up.T)) @ layer.down.weight.T
    torch.testing.assert_close(layer(x), expected)
