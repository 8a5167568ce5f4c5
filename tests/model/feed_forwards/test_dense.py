from collections.abc import Callable

import pytest
import torch
from torch.nn import functional

from llm_core.registries import FEED_FORWARDS
from tests.model.shapes import spec


def tanh_gelu(x: torch.Tensor) -> torch.Tensor:
    return 0.5 * x * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (x + 0.044715 * x**3)))


Function = Callable[[torch.Tensor], torch.Tensor]
GATES: dict[str, Function] = {
    "swiglu": lambda x: x / (1 + torch.exp(-x)),
    "geglu": tanh_gelu,
}
PLAIN: dict[str, Function] = {
    "gelu": lambda x: 0.5 * x * (1 + torch.erf(x / 2**0.5)),
    "gelu_tanh": tanh_gelu,
    "relu": lambda x: x.clamp(min=0),
    "relu2": lambda x: x.clamp(min=0) ** 2,
}


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("name", [*GATES, *PLAIN])
def test_matches_the_formula(name: str, bias: bool) -> None:
    torch.manual_seed(0)
    shape = spec(feed_forward={"kind": name, "d_ff": 10}, bias=bias)
    layer, x = FEED_FORWARDS.load(name)(d_ff=10).module(shape, shape.layers[0]), torch.randn(2, 3, 32)
    if name in GATES:
        product = functional.linear(x, layer.gate_up.weight, layer.gate_up.bias)
        hidden = GATES[name](product[..., :10]) * product[..., 10:]
    else:
        hidden = PLAIN[name](functional.linear(x, layer.up.weight, layer.up.bias))
    torch.testing.assert_close(layer(x), functional.linear(hidden, layer.down.weight, layer.down.bias))
