"""Causal convolutions as long as the sequence, by fast Fourier transforms that leak no information.

One transform over a whole row would mix all of its tokens: by rounding, the future would affect the past, and one
document another. So the sum is split by distance, and every transform reads only tokens that all of its results may
see:

- Distances below ``NEAR`` are summed directly.
- For s = ``NEAR``, 2 · ``NEAR``, 4 · ``NEAR``, … the row is cut into pairs of blocks of s tokens. One transform per
  pair adds the contribution of the left block to the right one, with zeros as taps of the distances below ``NEAR``.
  Any two tokens with a larger distance are in exactly one pair, of one s (the relaxed multiplication of van der Hoeven,
  2002).

At most one document crosses the border of a pair. Both blocks are set to zero outside of it. So no bit of results and
gradients changes with tokens on which they must not depend. The work grows with T · log² T. Measured in
``benchmarks/long_convolution.py``.

Dimensions: B batch, T tokens, C channels, P pairs, S tokens of a block, W frequencies of a pair, L lags.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from llm_core.model.convolution import causal_convolution
from llm_core.model.mixers.hyena.spec import NEAR, pairs_of_blocks


def long_convolution(x_BTC: Tensor, taps_LC: Tensor, runs_BT: Tensor | None = None) -> Tensor:
    """y[t] = Σ_l taps[l] · x[t − l] over the l with t − l in the document of t, (B, T, C) in the type of ``x_BTC``.

    ``taps_LC``: fp32, L ≥ T. ``runs_BT``: the document of each token, by ``numbered_runs``; None: one document per row.
    Sums are fp32. Differentiable in the tokens and the taps.
    """
    T = x_BTC.shape[1]
    near = min(NEAR, T)
    y_BTC = causal_convolution(x_BTC, taps_LC[:near].flip(0).mT, document_ids_BT=runs_BT)
    if T > NEAR:
        y_BTC = y_BTC + _far(x_BTC, taps_LC[:T].contiguous(), runs_BT).to(y_BTC.dtype)
    return y_BTC


def numbered_runs(documents_BT: Tensor) -> Tensor:
    """(B, T): 0 for the tokens of a row's first document, 1 for those of the second, and so on."""
    runs_BT = torch.zeros_like(documents_BT)
    runs_BT[:, 1:] = documents_BT[:, 1:] != documents_BT[:, :-1]
    return runs_BT.cumsum(1)


# A custom operator: compilers generate no code for complex numbers, and its intermediate results need not be saved.
@torch.library.custom_op("pedigree::far_convolution", mutates_args=())
def _far(x_BTC: Tensor, taps_TC: Tensor, runs_BT: Tensor | None) -> Tensor:
    """The sum over distances from ``NEAR`` on, (B, T, C) in fp32."""
    x_BCT, taps_CT = x_BTC.mT.float().contiguous(), _without_near(taps_TC).mT.contiguous()
    y_BCT = torch.zeros_like(x_BCT)
    for size, pairs in pairs_of_blocks(x_BCT.shape[-1]):
        left_B1PS, right_B1PS = _crossing(runs_BT, size, pairs)
        spectrum_BCPW = torch.fft.rfft(_blocks(x_BCT, size, pairs, 0, left_B1PS), n=2 * size)
        spectrum_BCPW *= torch.fft.rfft(taps_CT[:, : 2 * size], n=2 * size)[:, None]
        _add(y_BCT, torch.fft.irfft(spectrum_BCPW, n=2 * size)[..., size:], size, 1, right_B1PS)
    return y_BCT.mT.contiguous()


@_far.register_fake
def _(x_BTC: Tensor, taps_TC: Tensor, runs_BT: Tensor | None) -> Tensor:
    del taps_TC, runs_BT
    return x_BTC.new_empty(x_BTC.shape, dtype=torch.float32)


@torch.library.custom_op("pedigree::far_convolution_backward", mutates_args=())
def _gradients(upstream_BTC: Tensor, x_BTC: Tensor, taps_TC: Tensor, runs_BT: Tensor | None) -> tuple[Tensor, Tensor]:
    upstream_BCT, x_BCT = (y_BTC.mT.float().contiguous() for y_BTC in (upstream_BTC, x_BTC))
    taps_CT = _without_near(taps_TC).mT.contiguous()
    of_x_BCT, of_taps_CT = torch.zeros_like(x_BCT), torch.zeros_like(taps_CT)
    T = taps_CT.shape[1]
    for size, pairs in pairs_of_blocks(T):
        left_B1PS, right_B1PS = _crossing(runs_BT, size, pairs)
        right_BCPS = functional.pad(_blocks(upstream_BCT, size, pairs, 1, right_B1PS), (size, 0))
        spectrum_BCPW = torch.fft.rfft(right_BCPS, n=2 * size)
        of_input_BCPW = torch.fft.rfft(_blocks(x_BCT, size, pairs, 0, left_B1PS), n=2 * size)
        lags = min(2 * size, T)
        of_lags_CW = (spectrum_BCPW * of_input_BCPW.conj()).sum((0, 2))
        of_taps_CT[:, :lags] += torch.fft.irfft(of_lags_CW, n=2 * size)[:, :lags]
        spectrum_BCPW *= torch.fft.rfft(taps_CT[:, : 2 * size], n=2 * size)[:, None].conj()
        _add(of_x_BCT, torch.fft.irfft(spectrum_BCPW, n=2 * size)[..., :size], size, 0, left_B1PS)
    return of_x_BCT.mT.to(x_BTC.dtype).contiguous(), _without_near(of_taps_CT.mT)


@_gradients.register_fake
def _(upstream_BTC: Tensor, x_BTC: Tensor, taps_TC: Tensor, runs_BT: Tensor | None) -> tuple[Tensor, Tensor]:
    del upstream_BTC, runs_BT
    return x_BTC.new_empty(x_BTC.shape), taps_TC.new_empty(taps_TC.shape)


def _keep(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor | None], output: Tensor) -> None:
    del output
    ctx.save_for_backward(*inputs)


def _backward(ctx: Any, upstream_BTC: Tensor) -> tuple[Tensor, Tensor, None]:
    return *_gradients(upstream_BTC, *ctx.saved_tensors), None


_far.register_autograd(_backward, setup_context=_keep)


def _without_near(taps_TC: Tensor) -> Tensor:
    """A copy with zeros for the distances that are summed directly."""
    taps_TC = taps_TC.clone(memory_format=torch.contiguous_format)
    taps_TC[:NEAR] = 0
    return taps_TC


def _crossing(runs_BT: Tensor | None, size: int, pairs: int) -> tuple[Tensor | None, Tensor | None]:
    """For the left and the right blocks, (B, 1, P, S) each: 1 for tokens of the document that crosses the border of the
    pair, otherwise 0. None if each row is one document."""
    if runs_BT is None:
        return None, None
    runs_B1PS, after_B1PS = (_blocks(runs_BT[:, None], size, pairs, side, None) for side in (0, 1))
    last_B1P1 = runs_B1PS[..., -1:]
    return (runs_B1PS == last_B1P1).float(), (after_B1PS == last_B1P1).float()


def _blocks(x_BCT: Tensor, size: int, pairs: int, side: int, kept_B1PS: Tensor | None) -> Tensor:
    """The left (0) or right (1) blocks of the pairs, (B, C, P, S), times ``kept``; zeros after the last token."""
    missing = 2 * size * pairs - x_BCT.shape[-1]  # negative: the last tokens are a left block without a right one
    x_BCPS = functional.pad(x_BCT, (0, missing)).unflatten(-1, (pairs, 2, size))[..., side, :]
    return x_BCPS if kept_B1PS is None else x_BCPS * kept_B1PS


def _add(sum_BCT: Tensor, blocks_BCPS: Tensor, size: int, side: int, kept_B1PS: Tensor | None) -> None:
    """Add blocks to the left (0) or right (1) blocks of the pairs, in place."""
    if kept_B1PS is not None:
        blocks_BCPS = blocks_BCPS * kept_B1PS
    spread_BCT = functional.pad(blocks_BCPS, (0, size) if side == 0 else (size, 0)).flatten(-2)
    T = min(sum_BCT.shape[-1], spread_BCT.shape[-1])
    sum_BCT[..., :T] += spread_BCT[..., :T]
