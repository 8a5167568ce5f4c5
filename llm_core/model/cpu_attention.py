"""Attention for CPUs: plain matrix products over blocks of scores that stay in the cache.

torch's own CPU kernel takes twice the time in bf16 at lengths from 256 to 1,024 tokens (`benchmarks.train`), and
does not skip what a mask hides. The price is memory: where there will be a backward pass, probabilities are kept for
it, H·S/2 numbers a token. Dimensions beside those of ``llm_core.model``: G query heads that share a key head, n rows
and q queries of a block, s keys that a block looks at, E channels of a value.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

QUERIES = 128
"""Queries of a block."""

CACHED_SCORES = 2**18
"""Scores of a block: in fp32 they fit a core's cache."""


class _Block(NamedTuple):
    rows: slice
    queries: slice
    keys: slice
    scores: slice
    """Where its probabilities are in the flat buffer of all."""


def _blocks(B: int, H: int, T: int, window: int | None) -> list[_Block]:
    blocks, done = [], 0
    for start in range(0, T, QUERIES):
        stop = min(start + QUERIES, T)
        first = 0 if window is None else max(0, start - window + 1)
        scores = H * (stop - start) * (stop - first)
        rows = max(1, CACHED_SCORES // scores)
        for row in range(0, B, rows):
            size = scores * (min(row + rows, B) - row)
            place = slice(done, done + size)
            blocks.append(_Block(slice(row, min(row + rows, B)), slice(start, stop), slice(first, stop), place))
            done += size
    return blocks


def _heads(x_BHTC: Tensor, rows: slice, tokens: slice, groups: int) -> Tensor:
    """Some tokens of some rows, as one matrix for each row and key head: (n · K, G · tokens, C)."""
    x = x_BHTC[rows, :, tokens]
    n, H, t, C = x.shape
    return x.reshape(n * (H // groups), groups * t, C)


def _bias(dense: Tensor | None, block: _Block, dtype: torch.dtype) -> Tensor:
    """What is added to the scores of a block; broadcasts to (n, H, q, s)."""
    queries, keys = block.queries, block.keys
    if dense is None:
        places = torch.arange(keys.start, keys.stop)
        hidden = places > torch.arange(queries.start, queries.stop)[:, None]
    else:
        part = dense[block.rows if dense.shape[0] > 1 else slice(None), :, queries, keys]
        if part.dtype != torch.bool:
            return part
        hidden = ~part
    return torch.zeros(hidden.shape, dtype=dtype).masked_fill_(hidden, -torch.inf)


# Operators of torch's own kind: a compiler would unroll the blocks, and is slower at it than these lines as they are.
@torch.library.custom_op("pedigree::cpu_attention", mutates_args=())
def _forward(
    q: Tensor, k: Tensor, v: Tensor, dense: Tensor | None, window: int | None, scale: float, keep: bool
) -> tuple[Tensor, Tensor]:
    (B, H, T, _), K, E = q.shape, k.shape[1], v.shape[3]
    sums = torch.promote_types(q.dtype, torch.float32)
    blocks = _blocks(B, H, T, window)
    p_flat = q.new_empty(blocks[-1].scores.stop if keep else 0)
    # In the order of tokens: whoever joins the heads next need not copy.
    mixed = q.new_empty(B, T, H, E).transpose(1, 2)
    for block in blocks:
        n, queries, keys = block.rows.stop - block.rows.start, block.queries, block.keys
        q_heads = _heads(q, block.rows, queries, H // K)
        k_heads, v_heads = _heads(k, block.rows, keys, 1), _heads(v, block.rows, keys, 1)
        scores = torch.bmm(q_heads, k_heads.mT).view(n, H, queries.stop - queries.start, -1)
        p = torch.softmax(torch.add(_bias(dense, block, sums), scores, alpha=scale), dim=-1)
        p = p_flat[block.scores].view(scores.shape).copy_(p) if keep else p.to(q.dtype)
        mixed[block.rows, :, queries] = torch.bmm(p.view(n * K, q_heads.shape[1], -1), v_heads).view(n, H, -1, E)
    return mixed, p_flat


@_forward.register_fake
def _(
    q: Tensor, k: Tensor, v: Tensor, dense: Tensor | None, window: int | None, scale: float, keep: bool
) -> tuple[Tensor, Tensor]:
    del k, dense, scale
    B, H, T, _ = q.shape
    mixed = q.new_empty(B, T, H, v.shape[3]).transpose(1, 2)
    return mixed, q.new_empty(_blocks(B, H, T, window)[-1].scores.stop if keep else 0)


@torch.library.custom_op("pedigree::cpu_attention_backward", mutates_args=())
def _backward(
    upstream: Tensor, q: Tensor, k: Tensor, v: Tensor, p_flat: Tensor, window: int | None, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    (B, H, T, C), (K, E) = q.shape, (k.shape[1], v.shape[3])
    q_grad = q.new_empty(B, T, H, C).transpose(1, 2)
    k_grad, v_grad = k.new_zeros(B, K, T, C), v.new_zeros(B, K, T, E)
    for block in _blocks(B, H, T, window):
        n, queries, keys = block.rows.stop - block.rows.start, block.queries, block.keys
        q_heads, up_heads = _heads(q, block.rows, queries, H // K), _heads(upstream, block.rows, queries, H // K)
        k_heads, v_heads = _heads(k, block.rows, keys, 1), _heads(v, block.rows, keys, 1)
        p = p_flat[block.scores].view(n * K, q_heads.shape[1], -1)
        v_grad[block.rows, :, keys] += torch.bmm(p.mT, up_heads).view(n, K, -1, E)
        scores_grad = torch._softmax_backward_data(torch.bmm(up_heads, v_heads.mT), p, -1, p.dtype)
        q_grad[block.rows, :, queries] = torch.bmm(scores_grad, k_heads).view(n, H, -1, C)
        k_grad[block.rows, :, keys] += torch.bmm(scores_grad.mT, q_heads).view(n, K, -1, C)
    return q_grad.mul_(scale), k_grad.mul_(scale), v_grad


@_backward.register_fake
def _(
    upstream: Tensor, q: Tensor, k: Tensor, v: Tensor, p_flat: Tensor, window: int | None, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    del upstream, p_flat, window, scale
    B, H, T, C = q.shape
    return q.new_empty(B, T, H, C).transpose(1, 2), k.new_empty(k.shape), v.new_empty(v.shape)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    q, k, v, _, ctx.window, ctx.scale, _ = inputs
    ctx.save_for_backward(q, k, v, output[1])


def _gradients(ctx: Any, upstream: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    return *_backward(upstream, *ctx.saved_tensors, ctx.window, ctx.scale), None, None, None, None


_forward.register_autograd(_gradients, setup_context=_keep)


def cpu_attention(
    q_BHTC: Tensor, k_BKTC: Tensor, v_BKTE: Tensor, dense: Tensor | None, window: int | None, scale: float
) -> Tensor:
    """(B, H, T, E): for every query the mean of the values it may see, weighted by softmax(scale · q·k).

    ``dense``: (B or 1, 1 or H, T, T), bool (true where the query may see the key), or numbers to be added to the scores
    and -inf; None for plain causality. It also knows of the ``window``, which says what blocks to leave out: those that
    lie before it, or after the query, are hidden. Products are of the queries' type, softmax is fp32.
    """
    mixed_BHTE: Tensor = _forward(q_BHTC, k_BKTC, v_BKTE, dense, window, scale, torch.is_grad_enabled())[0]
    return mixed_BHTE
