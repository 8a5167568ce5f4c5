"""FlexAttention (Dong et al., 2024): a kernel compiled for the mask, which skips hidden blocks."""

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

from llm_core.model.masks import Mask

_VARIANTS = 64
"""Compiled versions per function: kinds of masks and of attention."""


def block_mask(mask: Mask, device: torch.device) -> BlockMask:
    """Which blocks of 128 × 128 are visible in full, in part or not at all. Layers that share ``mask`` share it."""
    documents_BS, window = mask.documents_BS, mask.window

    def seen(row: Tensor, _head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        visible = query >= key
        if window is not None:
            visible = visible & (query - key < window)
        if documents_BS is not None:
            visible = visible & (documents_BS[row, query] == documents_BS[row, key])
        return visible

    rows = None if documents_BS is None else documents_BS.shape[0]
    made: BlockMask = _ready(create_block_mask, device.type)(seen, rows, None, mask.length, mask.keys, device=device)
    return made


def flexible_attention(
    q_BHTC: Tensor, k_BKSC: Tensor, v_BKSE: Tensor, mask: Mask, scale: float, softcap: float | None
) -> Tensor:
    """See ``attend``."""
    slopes_H = mask.slopes_H

    def changed(score: Tensor, _row: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        if softcap is not None:
            score = softcap * torch.tanh(score / softcap)
        if slopes_H is not None:
            score = score - slopes_H[head] * (query - key)
        return score

    mixed: Tensor = _ready(flex_attention, q_BHTC.device.type)(
        q_BHTC,
        k_BKSC,
        v_BKSE,
        score_mod=None if softcap is None and slopes_H is None else changed,
        block_mask=mask.block_mask,
        scale=scale,
        enable_gqa=q_BHTC.shape[1] != k_BKSC.shape[1],
    )
    return mixed


def _ready(function: Callable[..., Any], device: str) -> Callable[..., Any]:
    """``function`` compiled, unless a compiler already runs. On a CPU it is not compiled and computes all T × S pairs,
    for tests only."""
    return function if device == "cpu" or torch.compiler.is_compiling() else _compiled(function)


@cache
def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    from torch._dynamo import config

    # Each kind of mask is compiled for training and evaluation, for one length and for any. By default the compiler
    # gives up after 8, and the function then writes out all T × S pairs.
    config.recompile_limit = max(config.recompile_limit, _VARIANTS)
    return torch.compile(function)
