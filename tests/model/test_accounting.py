"""Formulas of whole models against what torch counts. (Those of every model are in ``llm_core.contracts.costs``.)"""

from collections.abc import Callable
from typing import Any

import pytest

from llm_core.contracts import costs
from llm_core.contracts.costs import saved_bytes
from llm_core.experiment.component import over
from llm_core.experiment.model import ModelSpec
from llm_core.model import accounting, attending, eager
from llm_core.model.accounting import (
    activation_bytes_per_token,
    block_parameters,
    flops_per_token,
    parameter_count,
    scaling_parameters,
)
from llm_core.model.build import build_model
from tests.model.shapes import MLA, MODELS, RWKV7, VOCAB, named, spec


def test_windows_cost_what_they_see() -> None:
    narrow, wide = (flops_per_token(spec(mixer={"window": window}), VOCAB, 512) for window in (16, None))
    assert wide - narrow == 12 * 2 * 32 * (512 - 16)


@pytest.mark.parametrize("name", MODELS)
def test_block_parameters(name: str) -> None:
    blocks = build_model(named(name), VOCAB, device="meta").blocks
    assert block_parameters(named(name)) == max(sum(p.numel() for p in block.parameters()) for block in blocks)


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
        {"mixer": {"value_embedding": {}}},
        {"mixer": {"value_embedding": {}}, "document_mask": True},
        {"mixer": {"value_embedding": {}, "qk_norm": True}, "norm": {"kind": "rmsnorm", "gain": False}},
        {"mixer": {"value_embedding": {}, "qk_norm": True, "window": 20}},
        {"stream_scales": {}},
        {
            "parallel": True,
            "mixer": {"qk_norm": True, "qk_norm_over": "all", "position": {"kind": "rope", "share": 0.5}},
        },
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


@pytest.mark.parametrize(
    "changes",
    [
        {"mixer": {"kind": "liv", "kernel": 4}},
        {"mixer": {**MLA, "kv_rank": 48, "q_rank": 40, "nope_dim": 24, "rope_dim": 8, "value_dim": 20}},
        {"mixer": {"kind": "mamba2", "state": 24, "head_dim": 32, "chunk": 22}},
        {"mixer": {"kind": "mamba", "chunk": 22}},
        {"mixer": {"kind": "retention", "n_heads": 4, "chunk": 22}},
        {"mixer": {"kind": "hyena", "max_length": 100}},
        {"mixer": {"kind": "hyena", "max_length": 100, "order": 4}},
        {"mixer": {**RWKV7, "head_dim": 32, "chunk": 22}},
        {"mixer": {"kind": "rwkv4"}},
        {"feed_forward": {"kind": "gelu", "d_ff": 352}, "bias": True},
        {"feed_forward": {"kind": "rwkv4_channel_mix", "d_ff": 352}},
        {"feed_forward": {"kind": "rwkv7_channel_mix", "d_ff": 352}},
    ],
    ids=lambda changes: next(iter(changes.values()))["kind"],
)
@pytest.mark.parametrize("check", costs.OF_BLOCKS, ids=lambda check: check.__name__)
def test_mixers_and_feed_forwards(changes: dict[str, Any], check: Callable[[ModelSpec], None]) -> None:
    check(wider(1, **changes))


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


def test_tables_and_scales_are_no_part_of_n() -> None:
    plain, found = spec(), spec(mixer={"value_embedding": {"gate_channels": 12}}, stream_scales={})
    before, after = (parameter_count(shape, VOCAB) for shape in (plain, found))
    gates = 2 * 12 * 2
    assert after.value_embeddings == 2 * VOCAB * 16
    assert after.total - before.total == after.value_embeddings + gates + 2 * 2
    assert scaling_parameters(found, VOCAB) - scaling_parameters(plain, VOCAB) == gates
    assert scaling_parameters(plain, VOCAB) == before.total - before.norms


def test_recomputed_blocks_keep_the_rows_of_their_table() -> None:
    shapes = [spec(n_layers=n, mixer={"value_embedding": {}}) for n in (1, 2)]
    one, two = (activation_bytes_per_token(shape, 64, checkpointing="full") for shape in shapes)
    assert two - one == 4 * (32 + 16)
