"""Activation checkpointing (Chen et al., 2016): the backward pass recomputes activations instead of storing them."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint, create_selective_checkpoint_contexts

_ATEN = torch.ops.aten

_PRODUCTS = [
    _ATEN.mm.default,
    _ATEN.addmm.default,
    _ATEN._scaled_mm.default,
    _ATEN._grouped_mm.default,
]

_ATTENTION = [
    _ATEN._scaled_dot_product_flash_attention.default,
    _ATEN._scaled_dot_product_efficient_attention.default,
    _ATEN._scaled_dot_product_cudnn_attention.default,
    _ATEN._scaled_dot_product_flash_attention_for_cpu.default,
    torch.ops.higher_order.flex_attention,
]
"""``selective`` stores the results of matrix products with weights and of attention kernels: they cost most to compute.

It does not store batched products (``bmm``), which may be the T × T scores of attention. With dropout in attention, it
recomputes attention: a kernel that is not called again draws no random numbers, so the block's own dropout would drop
other channels than in the forward pass."""


def checkpoint_activations(blocks: Sequence[nn.Module], mode: str, every: int | None) -> None:
    """Make blocks recompute their activations in the backward pass. Results do not change.

    ``mode``: "none", "full" (every block stores only its input), "every_nth" (as "full", in one block of ``every``,
    starting with the first) or "selective" (every block also stores the results of matrix products and of attention).
    """
    for number, block in enumerate(blocks):
        if mode == "selective":
            has_dropout = getattr(block.mixer, "dropout", 0.0) > 0
            block.forward = _checkpointed_with(block.forward, _products_context if has_dropout else _kernels_context)
        elif mode == "full" or (mode == "every_nth" and every is not None and number % every == 0):
            block.forward = _checkpointed(block.forward)


# Functions, not partials of ``checkpoint``: the compiler skips a call that begins in torch itself, and it needs to see
# whether there is a context.


def _checkpointed(forward: Callable[..., Any]) -> Callable[..., Any]:
    def checkpointed(*arguments: Any) -> Any:
        return checkpoint(forward, *arguments, use_reentrant=False)

    return checkpointed


def _checkpointed_with(forward: Callable[..., Any], context: Callable[[], Any]) -> Callable[..., Any]:
    def checkpointed(*arguments: Any) -> Any:
        return checkpoint(forward, *arguments, use_reentrant=False, context_fn=context)

    return checkpointed


def _products_context() -> Any:
    return create_selective_checkpoint_contexts(_PRODUCTS)


def _kernels_context() -> Any:
    # Torch registers it when ``varlen_attn`` is imported. That import is slow, so only code that needs it does it.
    varlen = getattr(torch.ops.torch_attn, "_varlen_attn", None)
    kept = [*_PRODUCTS, *_ATTENTION]
    return create_selective_checkpoint_contexts(kept if varlen is None else [*kept, varlen.default])
