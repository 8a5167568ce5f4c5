"""Activation checkpointing: activations that the backward pass makes again instead of keeping (Chen et al., 2016)."""

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
"""What ``selective`` keeps: the results of products with weights and of attention's kernels, which cost most to make.
Batched products (``bmm``) are not among them: they may be attention's scores, T × T of them. With attention's dropout,
attention is made again: a kernel that is not called a second time draws no random numbers, and the block's ``dropout``
would leave out other channels than in the forward pass."""


def checkpoint_activations(blocks: Sequence[nn.Module], mode: str, every: int | None) -> None:
    """Have blocks make their activations again in the backward pass.

    ``mode``: "none", "full" (all blocks, which keep their input alone), "every_nth" (one block in ``every``, from the
    first on) or "selective" (all blocks, which also keep the results of products and of attention). No result changes.
    """
    for number, block in enumerate(blocks):
        if mode == "selective":
            draws = getattr(block.mixer, "dropout", 0.0) > 0
            block.forward = (_recomputed_but_products if draws else _recomputed_but_kernels)(block.forward)
        elif mode == "full" or (mode == "every_nth" and every is not None and number % every == 0):
            block.forward = _recomputed(block.forward)


# Functions of ours, and no partials: the compiler passes over code that begins in torch itself.


def _recomputed(forward: Callable[..., Any]) -> Callable[..., Any]:
    def recomputed(*arguments: Any) -> Any:
        return checkpoint(forward, *arguments, use_reentrant=False)

    return recomputed


def _recomputed_but_products(forward: Callable[..., Any]) -> Callable[..., Any]:
    def recomputed(*arguments: Any) -> Any:
        return checkpoint(forward, *arguments, use_reentrant=False, context_fn=_keep_products)

    return recomputed


def _recomputed_but_kernels(forward: Callable[..., Any]) -> Callable[..., Any]:
    def recomputed(*arguments: Any) -> Any:
        return checkpoint(forward, *arguments, use_reentrant=False, context_fn=_keep_kernels)

    return recomputed


def _keep_products() -> Any:
    return create_selective_checkpoint_contexts(_PRODUCTS)


def _keep_kernels() -> Any:
    # Known to torch once ``varlen_attn`` is imported, which is slow and happens where it is used.
    varlen = getattr(torch.ops.torch_attn, "_varlen_attn", None)
    kept = [*_PRODUCTS, *_ATTENTION]
    return create_selective_checkpoint_contexts(kept if varlen is None else [*kept, varlen.default])
