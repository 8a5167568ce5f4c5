"""Formulas against what torch counts. (Parameter counts are compared in test_build.)"""

import math
from typing import Any

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode, register_flop_formula

import llm_core.model.feed_forwards.moe.grouped  # (it defines an operator, and so does the next)
import llm_core.model.mixers.hyena.convolution  # noqa: F401
from llm_core.experiment.component import over
from llm_core.experiment.model import ModelSpec
from llm_core.model import accounting, attending, eager
from llm_core.model.accounting import (
    activation_bytes_per_token,
    block_parameters,
    flops_per_token,
    layer_costs,
    state_bytes,
)
from llm_core.model.build import build_model
from llm_core.model.mixers.attending import AttendingSpec
from llm_core.model.state import new_state
from tests.model.shapes import MLA, MODELS, RWKV7, VOCAB, model, named, spec, tokens


@register_flop_formula(torch.ops.pedigree.grouped_product)
def grouped_flops(x_shape: tuple[int, int], weight_shape: tuple[int, int, int], *_: Any, **__: Any) -> int:
    return 2 * x_shape[0] * weight_shape[1] * weight_shape[2]


@register_flop_formula(torch.ops.pedigree.far_convolution)
def transform_flops(x_shape: tuple[int, int, int], *_: Any, **__: Any) -> int:
    """For one pair of blocks of 8 tokens: two real transforms of 16 points, a complex product of their 9 numbers."""
    rows, length, channels = x_shape
    assert length == 16
    return rows * channels * (2 * 5 * 16 * 4 // 2 + 6 * 9)


@register_flop_formula(torch.ops.aten.linalg_solve_triangular)
def triangular_flops(_: tuple[int, ...], right_shape: tuple[int, ...], *__: Any, **___: Any) -> int:
    *systems, unknowns, sides = right_shape
    return math.prod(systems) * sides * unknowns**2


@pytest.mark.parametrize("name", MODELS)
def test_flops_are_those_of_the_products(name: str) -> None:
    shape = named(name)
    built, counted = build_model(shape, VOCAB), []
    softcap = any(isinstance(layer.mixer, AttendingSpec) and layer.mixer.softcap for layer in shape.layers)
    built.attention_backend = "eager" if softcap else "sdpa"
    for rows in (1, 3):
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            built(torch.zeros(rows, 16, dtype=torch.long))
        counted.append(counter.get_total_flops())
    # Windows are counted by what is seen, and SDPA's products go over the whole square.
    whole = [
        over(entry, {"mixer": {"window": None}}) if isinstance(layer.mixer, AttendingSpec) else entry
        for entry, layer in zip(shape.pattern or ({},), shape.layers, strict=False)
    ]
    # A forward pass is a third of the work. What it does once, whatever its rows, is no token's.
    tokens_more = 2 * 16
    assert 3 * (counted[1] - counted[0]) / tokens_more == flops_per_token(named(name, pattern=whole), VOCAB, 16)


def test_windows_cost_what_they_see() -> None:
    narrow, wide = (flops_per_token(spec(mixer={"window": window}), VOCAB, 512) for window in (16, None))
    assert wide - narrow == 12 * 2 * 32 * (512 - 16)


@pytest.mark.parametrize("name", MODELS)
def test_block_parameters(name: str) -> None:
    blocks = build_model(named(name), VOCAB, device="meta").blocks
    assert block_parameters(named(name)) == max(sum(p.numel() for p in block.parameters()) for block in blocks)


def bytes_of_state(name: str, length: int) -> int:
    """What a decoding state holds once a row of ``length`` tokens is read."""
    built, total = model(named(name)), 0
    state = new_state(built, 1, length)
    with torch.inference_mode():
        built(tokens(1, length), state=state)
    for layer in (*state.layers, *state.feed_forwards):
        tensors = [value for value in vars(layer).values() if isinstance(value, torch.Tensor)] if layer else []
        total += sum(tensor.nbytes for tensor in tensors)
    return total


@pytest.mark.parametrize("name", MODELS)
def test_state_bytes(name: str) -> None:
    for length in (10, 23):
        assert state_bytes(named(name), length, element_bytes=4) == bytes_of_state(name, length)


def saved_bytes(
    shape: ModelSpec, precision: str, rows: int, length: int, loss: bool = False, backend: str = "sdpa"
) -> int:
    """Bytes that autograd keeps for the backward pass, without weights and their bf16 copies."""
    built = build_model(shape, VOCAB)
    built.attention_backend = backend
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
        built(x, x if loss else None, document_ids_BT=x)
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


def wider(layers: int, **changes: Any) -> ModelSpec:
    return spec(**over({"d_model": 128, "feed_forward": {"d_ff": 352}, "n_layers": layers}, changes))


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
@pytest.mark.parametrize("repeated", [False, True], ids=["grouped", "repeated"])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"mixer": {"qk_norm": True}},
        {"document_mask": True},
        {"document_mask": True, "mixer": {"qk_norm": True}},
        {"mixer": {"n_kv_heads": 1}, "feed_forward": {"d_ff": 300}},
        {"mixer": {"n_kv_heads": 1}, "document_mask": True},
        {"mixer": {"window": 20}},
    ],
)
def test_activations_are_what_autograd_keeps(
    changes: dict, repeated: bool, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also with heads that are repeated where there is a mask, as a GPU's kernels want it."""
    if repeated:
        monkeypatch.setattr(attending, "GROUPS_WITH_MASK", ())
    rows, length = 2, 88
    shapes = [wider(layers, **changes) for layers in (1, 3)]
    one, three = (saved_bytes(shape, precision, rows, length) for shape in shapes)
    formula = [activation_bytes_per_token(shape, length, precision=precision, on_cpu=not repeated) for shape in shapes]
    assert (three - one) / (rows * length) == pytest.approx(formula[1] - formula[0], rel=0.03)


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
@pytest.mark.parametrize(
    "mixer",
    [
        {"kind": "liv", "kernel": 4},
        {**MLA, "kv_rank": 48, "q_rank": 40, "nope_dim": 24, "rope_dim": 8, "value_dim": 20},
        {"kind": "mamba2", "state": 24, "head_dim": 32, "chunk": 22},
        {"kind": "retention", "n_heads": 4, "chunk": 22},
        {"kind": "hyena", "max_length": 100},
        {"kind": "hyena", "max_length": 100, "order": 4},
        {**RWKV7, "head_dim": 32, "chunk": 22},
        {"kind": "rwkv4"},
    ],
    ids=lambda mixer: mixer["kind"],
)
def test_activations_of_mixers(mixer: dict[str, Any], precision: str) -> None:
    """Of a pass over one row: a part may keep something that is the same for all."""
    assert_kept({"mixer": mixer}, precision)


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
@pytest.mark.parametrize("kind", ["rwkv4_channel_mix", "rwkv7_channel_mix"])
def test_activations_of_feed_forwards_with_token_shift(kind: str, precision: str) -> None:
    assert_kept({"feed_forward": {"kind": kind, "d_ff": 352}}, precision)


def assert_kept(changes: dict[str, Any], precision: str) -> None:
    rows, length = 1, 88
    shapes = [wider(layers, document_mask=True, **changes) for layers in (1, 3)]
    one, three = (saved_bytes(shape, precision, rows, length) for shape in shapes)
    formula = [activation_bytes_per_token(shape, length, precision=precision) for shape in shapes]
    assert (three - one) / (rows * length) == pytest.approx(formula[1] - formula[0], rel=0.1)


def test_checkpointing_keeps_one_block_and_the_stream() -> None:
    shape = spec(n_layers=10)
    whole = activation_bytes_per_token(shape, 64)
    less = activation_bytes_per_token(shape, 64, checkpointing="full")
    block = activation_bytes_per_token(spec(n_layers=1), 64)
    assert less == block + 10 * 4 * 32
    assert less < whole / 3
    every = [activation_bytes_per_token(shape, 64, checkpointing="every_nth", every=n) for n in (1, 2, 3, 10)]
    assert [less, *every] == sorted([less, *every])
    assert every[0] == less
    selective = activation_bytes_per_token(shape, 64, checkpointing="selective")
    assert less < selective < whole


class Products(TorchDispatchMode):
    """How many numbers come out of products with matrices."""

    def __init__(self) -> None:
        super().__init__()
        self.yielded = 0

    def __torch_dispatch__(
        self, operation: Any, types: Any, arguments: Any = (), options: dict[str, Any] | None = None
    ) -> Any:
        result = operation(*arguments, **(options or {}))
        if operation.overloadpacket in (torch.ops.aten.mm, torch.ops.aten.addmm):
            self.yielded += result.numel()
        return result


@pytest.mark.parametrize(
    ("changes", "attended"),
    [
        ({"mixer": {"qk_norm": True}}, 64),
        ({"feed_forward": {"kind": "gelu", "d_ff": 160}, "bias": True}, 64),
        ({"mixer": {**MLA, "kv_rank": 16, "q_rank": 24, "nope_dim": 8, "rope_dim": 8, "value_dim": 16}}, 64),
        ({"mixer": {"kind": "liv", "kernel": 3}}, 0),
        ({"mixer": {"kind": "mamba2", "state": 24, "head_dim": 32, "chunk": 22}}, 0),
        ({"mixer": {"kind": "retention", "n_heads": 4, "chunk": 22}}, 0),
        ({"mixer": {"kind": "hyena", "max_length": 44}}, 0),
        ({"mixer": {**RWKV7, "head_dim": 32, "chunk": 22}}, 0),
        ({"mixer": {"kind": "rwkv4"}}, 0),
        ({"feed_forward": {"kind": "rwkv7_channel_mix", "d_ff": 160}}, 64),
        ({"feed_forward": {"kind": "rwkv4_channel_mix", "d_ff": 160}}, 64),
    ],
)
def test_outputs_of_matrix_products(changes: dict[str, Any], attended: int) -> None:
    """Selective checkpointing keeps it, and what attention's kernel yields beside (``attended`` numbers a token)."""
    shape = spec(**over({"d_model": 64, "feed_forward": {"d_ff": 160}, "n_layers": 1}, changes))
    built = build_model(shape, VOCAB)
    hooks = []

    def begin(*_: Any) -> None:
        hooks.append(Products())
        hooks[0].__enter__()

    built.blocks[0].register_forward_pre_hook(begin)
    built.blocks[0].register_forward_hook(lambda *_: hooks[0].__exit__(None, None, None))
    built(tokens(1, 44))
    (cost,) = layer_costs(shape, 44)
    assert hooks[0].yielded == 44 * (cost.mixer.matmul_outputs + cost.feed_forward.matmul_outputs - attended)


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_activations_of_mtp_heads(precision: str) -> None:
    rows, length = 2, 88
    shapes = [wider(2, multi_token={"depth": depth}) for depth in (1, 3)]
    one, three = (saved_bytes(shape, precision, rows, length, loss=True) for shape in shapes)
    formula = [activation_bytes_per_token(shape, length, precision=precision) for shape in shapes]
    assert (three - one) / (rows * length) == pytest.approx(formula[1] - formula[0], rel=0.1)
    further = formula[0] - activation_bytes_per_token(wider(2), length, precision=precision)
    assert formula[1] - formula[0] == 2 * further
    full = [activation_bytes_per_token(shape, length, checkpointing="full") for shape in shapes]
    assert full[1] - full[0] < formula[1] - formula[0]


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"mixer": {"window": 40}},
        {"mixer": {"softcap": 5.0}},
        {"mixer": {"dropout": 0.1}},
        {"mixer": {"softcap": 5.0, "dropout": 0.1}},
        {"document_mask": True},
    ],
    ids=lambda changes: " ".join(changes.get("mixer", changes)) or "plain",
)
@pytest.mark.parametrize("length", [88, 384])
def test_probabilities_that_eager_saves(length: int, changes: dict, precision: str) -> None:
    assert accounting.QUERIES == eager.QUERIES
    shapes = [wider(layers, **changes) for layers in (1, 3)]
    one, three = (saved_bytes(shape, precision, 2, length, backend="eager") for shape in shapes)
    formula = [activation_bytes_per_token(shape, length, precision=precision, backend="eager") for shape in shapes]
    # The rest is counted as of kernels, which also keep their results and the projections.
    assert (three - one) / (2 * length) == pytest.approx(formula[1] - formula[0], rel=0.13)
