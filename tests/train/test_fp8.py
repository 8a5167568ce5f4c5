"""fp8 on a CPU: torchao rounds to 8 bits and multiplies in fp32."""

import copy
import sys

import pytest
import torch
from torch import nn

from llm_core.errors import PedigreeError
from llm_core.model.build import build_model
from llm_core.train.distribution import spread
from llm_core.train.fp8 import in_float8, require_float8
from llm_core.train.optimizers.muon.optimizer import muon
from llm_core.train.optimizers.muon.spec import Muon
from tests.train.runs import ALONE, VOCABULARY, model_spec, trainer_spec

pytest.importorskip("torchao", reason="the extra fp8")


def test_products_are_those_of_rounded_numbers():
    """Result and both gradients equal fp32 products of operands rounded to e4m3 and e5m2."""

    def rounded(x, dtype):
        scale = torch.finfo(dtype).max / x.abs().max()
        return (x * scale).to(dtype).float() / scale

    torch.manual_seed(0)
    holder = nn.Sequential(nn.Linear(64, 48))
    weight, bias = holder[0].weight, holder[0].bias
    assert in_float8([holder]) == (1, 1)
    assert holder[0].weight is weight
    x = torch.randn(32, 64, requires_grad=True)
    grad = torch.randn(32, 48)
    y = holder(x)
    y.backward(grad)
    x8, w8 = rounded(x.detach(), torch.float8_e4m3fn), rounded(weight.detach(), torch.float8_e4m3fn)
    g8 = rounded(grad, torch.float8_e5m2)
    for found, expected in ((y - bias, x8 @ w8.t()), (x.grad, g8 @ w8), (weight.grad, g8.t() @ x8)):
        assert (found - expected).norm() < 1e-5 * expected.norm()
    assert (y - bias - x @ weight.t()).norm() > 0.01 * y.norm(), "8 bits round"


def test_names_types_and_fused_maps_stay():
    """So checkpoints and exports are as usual, and Muon separates queries from keys."""
    model = build_model(model_spec(), VOCABULARY)

    def known():
        maps = {name: module.fused for name, module in model.named_modules() if hasattr(module, "fused")}
        return [(name, x.dtype, x.data_ptr()) for name, x in model.state_dict().items()], maps

    before = known()
    in_float8(model.all_blocks)
    assert known() == before
    assert before[1]
    optimizer = muon(Muon(lr=0.01), model, "bf16")
    assert set(optimizer._parts.values()) == {sizes["weight"] for sizes in before[1].values()}


def test_without_torchao_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchao.float8", None)
    with pytest.raises(PedigreeError, match=r"precision fp8 needs torchao, which is not installed: .*\[fp8\]"):
        in_float8(build_model(model_spec(), VOCABULARY).blocks)


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
    layer, x, results = nn.Linear(64, 48, bias=False), torch.randn(32, 64), []
    for place in (torch.device("cpu"), device):
        holder, inputs = nn.Sequential(copy.deepcopy(layer).to(place)), x.clone().to(place).requires_grad_()
        in_float8([holder])
        with torch.autocast("cuda", dtype=torch.bfloat16):
            y = holder(inputs)
        y.sum().backward()
        results.append([tensor.detach().cpu().float() for tensor in (y, inputs.grad, holder[0].weight.grad)])
    assert all(torch.allclose(a, b, rtol=2e-2, atol=2e-2) for a, b in zip(*results, strict=True))
