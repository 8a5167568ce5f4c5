"""Formulas against what torch counts. (Parameter counts are compared in test_build.)"""

import pytest
import torch
from hypothesis import given, settings
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from llm_core.experiment.model import ModelSpec
from llm_core.model.accounting import (
    activation_bytes_per_token,
    block_parameters,
    flops_per_token,
    kv_cache_bytes_per_token,
    parameter_count,
)
from llm_core.model.build import build_model
from llm_core.model.cache import KVCache
from tests.model.shapes import VOCAB, spec, specs


@settings(max_examples=6, deadline=None)
@given(specs())
def test_flops_are_those_of_the_products(shape: ModelSpec) -> None:
    built, x = build_model(shape, VOCAB), torch.zeros(2, 16, dtype=torch.long)
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        built(x)
    # A forward pass is a third of the work; the convention's N also counts the norms' few weights.
    norms = 6 * parameter_count(shape, VOCAB).norms
    assert 3 * counter.get_total_flops() / x.numel() == flops_per_token(shape, VOCAB, 16) - norms


@settings(max_examples=6, deadline=None)
@given(specs())
def test_block_parameters(shape: ModelSpec) -> None:
    block = build_model(shape, VOCAB, device="meta").blocks[0]
    assert block_parameters(shape) == sum(parameter.numel() for parameter in block.parameters())


def test_cache_bytes() -> None:
    cache = KVCache(spec(), batch_size=3, max_length=10, dtype=torch.bfloat16)
    assert kv_cache_bytes_per_token(spec()) * 30 == cache.entries.nbytes


def saved_bytes(shape: ModelSpec, precision: str, rows: int, length: int) -> int:
    """Bytes that autograd keeps for the backward pass, without weights and their bf16 copies."""
    built = build_model(shape, VOCAB)
    shapes = {tuple(p.shape) for p in built.parameters()} | {
        tuple(p.T.shape) for p in built.parameters() if p.ndim == 2
    }
    kept: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if tuple(tensor.shape) not in shapes:
            kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    x = torch.zeros(rows, length, dtype=torch.long)
    autocast = torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16")
    with saved_tensors_hooks(keep, lambda tensor: tensor), autocast:
        built(x, document_ids_BT=x)
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
@pytest.mark.parametrize("changes", [{}, {"qk_norm": True}, {"document_mask": True}, {"n_kv_heads": 1, "d_ff": 300}])
def test_activations_are_what_autograd_keeps(changes: dict, precision: str) -> None:
    rows, length = 2, 88
    shapes = [spec(d_model=128, d_ff=352, n_layers=layers).model_copy(update=changes) for layers in (1, 3)]
    one, three = (saved_bytes(shape, precision, rows, length) for shape in shapes)
    formula = [activation_bytes_per_token(shape, length, precision=precision) for shape in shapes]
    assert (three - one) / (rows * length) == pytest.approx(formula[1] - formula[0], rel=0.03)


def test_checkpointing_keeps_one_block_and_the_stream() -> None:
    shape = spec(n_layers=10)
    whole = activation_bytes_per_token(shape, 64)
    less = activation_bytes_per_token(shape, 64, checkpointing=True)
    block = activation_bytes_per_token(spec(n_layers=1), 64)
    assert less == block + 10 * 4 * 32
    assert less < whole / 3
