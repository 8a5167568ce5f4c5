"""The numbers of fp8, on a CPU: its kernel is slow there, but it is one."""

import pytest
import torch
from torch import nn

from llm_core.errors import PedigreeError
from llm_core.model.build import build_model
from llm_core.train.distribution import spread
from llm_core.train.fp8 import BACKWARD, FORWARD, in_float8, linear, require_float8, to_float8
from tests.train.runs import ALONE, VOCABULARY, model_spec, trainer_spec


def rounded(x, dtype):
    """What is left of ``x``, in fp32."""
    x8, scale = to_float8(x, dtype)
    return x8.float() * scale


@pytest.mark.parametrize("dtype", [FORWARD, BACKWARD])
def test_the_largest_number_stays_and_others_are_rounded(dtype):
    torch.manual_seed(0)
    x = torch.randn(64, 64) * 1000
    x[3, 5] = -7000.0
    x8, scale = to_float8(x, dtype)
    assert x8.dtype == dtype
    assert x8.float().min() == torch.finfo(dtype).min
    assert (x8.float() * scale)[3, 5] == pytest.approx(-7000.0, rel=1e-6)
    half_a_step = torch.finfo(dtype).eps / 2
    large = x.abs() > 1.0  # far above the smallest that the type has
    assert ((rounded(x, dtype) - x).abs() / x.abs())[large].max() <= half_a_step * 1.01
    assert not to_float8(torch.zeros(16, 16), dtype)[0].float().any()


def test_products_are_those_of_the_rounded_numbers():
    """Result and both gradients, against fp32 products of what the casts leave."""
    torch.manual_seed(0)
    layer = nn.Linear(64, 48)
    x = torch.randn(2, 16, 64).bfloat16().float().requires_grad_()
    grad = torch.randn(2, 16, 48).bfloat16()
    y = linear(x, layer.weight, layer.bias)
    y.backward(grad)
    x8, w8 = rounded(x.detach(), FORWARD).flatten(0, 1), rounded(layer.weight.detach(), FORWARD)
    g8 = rounded(grad, BACKWARD).flatten(0, 1)
    for ours, exact in (
        (y.detach().flatten(0, 1), x8 @ w8.t() + layer.bias.detach()),
        (x.grad.flatten(0, 1), g8 @ w8),
        (layer.weight.grad, g8.t() @ x8),
    ):
        assert torch.allclose(ours.float(), exact, rtol=1e-2, atol=1e-2 * float(exact.abs().max()))
    assert layer.weight.grad.dtype == x.grad.dtype == torch.float32


def test_linear_layers_of_blocks_are_changed_where_they_fit():
    def counts(**changes):
        return in_float8(build_model(model_spec(mixer={"n_kv_heads": 4}, **changes), VOCABULARY).blocks)

    assert counts(bias=True) == (8, 8)
    assert counts(feed_forward={"d_ff": 72}) == (6, 8), "72 by 16 does not go"
    experts = {"kind": "moe", "experts": 16, "top_k": 2, "d_ff": 32}
    assert counts(feed_forward=experts) == (4, 4), "routers stay in fp32"


def test_a_model_that_has_nothing_for_fp8_is_refused():
    with pytest.raises(PedigreeError, match=r"precision fp8: none of the 8 linear layers .*multiples of 16: make"):
        in_float8(build_model(model_spec(d_model=40, feed_forward={"d_ff": 72}), VOCABULARY).blocks)


def test_how_many_layers_are_in_fp8_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr("llm_core.train.distribution.require_float8", lambda _: None)
    spec = trainer_spec(
        tmp_path, model=model_spec(feed_forward={"d_ff": 72}), training={"precision": "fp8"}, compile=True
    )
    lines = []
    spread(build_model(spec.model, VOCABULARY), spec, ALONE, lines.append)
    assert lines == ["fp8: 6 of 8 linear layers of the blocks (sides that are multiples of 16)"]


def test_a_model_learns_in_fp8_as_in_bf16():
    losses = {}
    for precision in ("bf16", "fp8"):
        torch.manual_seed(0)
        model = build_model(model_spec(), VOCABULARY)
        if precision == "fp8":
            assert in_float8(model.blocks) == (8, 8)
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
        tokens = torch.arange(8)[:, None] * 7 + torch.arange(33) * 3
        for _ in range(30):
            with torch.autocast("cpu", dtype=torch.bfloat16):
                loss = model(tokens[:, :-1] % VOCABULARY, tokens[:, 1:] % VOCABULARY).objective / 256
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        losses[precision] = float(loss.detach())
    assert losses["bf16"] < 2.0
    assert losses["fp8"] == pytest.approx(losses["bf16"], rel=0.1)


@pytest.mark.gpu
def test_the_kernel_of_a_gpu_agrees_with_that_of_a_cpu():
    device = torch.device("cuda")
    try:
        require_float8(device)
    except PedigreeError:
        pytest.skip("this GPU has no 8-bit floats")
    torch.manual_seed(0)
    layer = nn.Linear(64, 48)
    x = torch.randn(32, 64)
    results = []
    for place in (torch.device("cpu"), device):
        inputs, weight = (tensor.detach().to(place).requires_grad_() for tensor in (x, layer.weight))
        y = linear(inputs, weight, None)
        y.sum().backward()
        results.append([tensor.detach().cpu().float() for tensor in (y, inputs.grad, weight.grad)])
    assert all(torch.allclose(a, b, rtol=2e-2, atol=2e-2) for a, b in zip(*results, strict=True))
