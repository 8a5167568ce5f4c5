"""Matrices that are laid out for decoding compute the same."""

import pytest
import torch
from torch import nn

from llm_core.model import decoding_layout
from llm_core.model.decoding_layout import PackedLinear, lay_out_for_decoding
from llm_core.model.state import new_state
from tests.model import shapes

needs_onednn = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this torch has no oneDNN")


@needs_onednn
@pytest.mark.parametrize("rows", [1, 3, 4, 9])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("large", [False, True])
def test_a_packed_product_is_the_product(rows: int, bias: bool, large: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding_layout, "LARGE", 0 if large else 24 * 40)
    linear = nn.Linear(24, 40, bias=bias)
    packed = PackedLinear(linear.weight, linear.bias)
    x = torch.randn(rows, 1, 24)
    with torch.inference_mode():
        torch.testing.assert_close(packed(x), linear(x))
        assert torch.equal(packed.weight, linear.weight)


@pytest.mark.parametrize("capability", ["AVX2", pytest.param("AVX512", marks=needs_onednn)])
@pytest.mark.parametrize("name", shapes.MODELS)
@torch.inference_mode()
def test_every_model_writes_the_same(name: str, capability: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    plain, laid_out = (shapes.model(shapes.named(name)).eval() for _ in range(2))
    lay_out_for_decoding(laid_out)
    tokens = shapes.tokens(2, 7)
    states = [new_state(model, 2, 7) for model in (plain, laid_out)]
    for part in tokens.split([5, 1, 1], dim=1):  # a prompt, and a token at a time
        wanted, found = (model(part, state=state) for model, state in zip((plain, laid_out), states, strict=True))
        torch.testing.assert_close(found, wanted, atol=2e-4, rtol=1e-4)
    assert any(isinstance(module, PackedLinear) for module in laid_out.modules()) == (capability == "AVX512")
    head = laid_out.embedding if laid_out.head is None else laid_out.head
    assert not head.weight.is_contiguous()  # it has more outputs than inputs


def test_other_types_stay_as_they_are() -> None:
    model = shapes.model(shapes.spec()).to(torch.bfloat16)
    lay_out_for_decoding(model)
    assert not any(isinstance(module, PackedLinear) for module in model.modules())
    assert all(parameter.is_contiguous() for parameter in model.parameters())
