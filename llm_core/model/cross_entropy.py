"""The loss of the last hidden states, without all logits in memory at once.

Dimensions: N tokens of a micro-batch, n tokens of a chunk, D model, V vocabulary.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from llm_core.tokens.loader import IGNORED

CHUNK = 1024
"""Tokens whose logits are computed at once: enough for fast products, and few compared with a micro-batch."""

CACHED_LOGITS = 2**18
"""fp32 logits per softmax on a CPU, as many as fit in a core's cache."""


class _Settings(NamedTuple):
    softcap: float | None
    z_loss: float
    clamp: float | None
    chunk: int
    each: bool


def linear_cross_entropy(
    x_ND: Tensor,
    weight_VD: Tensor,
    targets_N: Tensor,
    *,
    softcap: float | None = None,
    z_loss: float = 0.0,
    clamp: float | None = None,
    chunk: int = CHUNK,
    each: bool = False,
    weights_N: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """``(objective, cross_entropy)`` of the logits ``x · weightᵀ``: fp32 scalars, nats summed over all targets but
    −100.

    With ``each``, ``cross_entropy`` is (N,), one value per token.

    ``cross_entropy`` is reported and compared, and has no gradient. ``objective`` is differentiated, once. Targets may
    be (N, S): S targets for one softmax, each of which counts, filled up with −100. The two sums are equal unless one
    of these options is on:

    - ``softcap``: logits become ``softcap · tanh(logits / softcap)`` (Gemma 2: Gemma Team, 2024). It changes both sums.
    - ``z_loss``: adds ``z_loss · logsumexp²`` per token, which keeps the softmax's denominator near 1 (PaLM: Chowdhery
      et al., 2022).
    - ``weights_N``: the objective is the sum of weight · cross-entropy. Weights may be negative, and have no gradient.
      Only without ``z_loss`` and ``clamp``, and for one target per token.
    - ``clamp``: a token with a larger cross-entropy counts as ``clamp`` in the objective, without z-loss, and has no
      gradient. Only for one target per token.

    The forward pass computes logits and their gradient for ``chunk`` tokens at a time (as Liger does: Hsu et al.,
    2024); the backward pass only scales. In between, the gradients of ``x`` and ``weight`` stay in memory, the latter
    in fp32 as the sum over chunks. Products have autocast's type if that is on, otherwise the weight's; softmax and
    sums are fp32 (fp64 for a weight of fp64).

    Raises ``IndexError`` or ``RuntimeError`` for a target that is not an id (on CUDA a device assertion), and
    ``RuntimeError`` for a second backward pass.
    """
    assert clamp is None or targets_N.ndim == 1
    assert weights_N is None or (clamp is None and not z_loss and targets_N.ndim == 1)
    settings = _Settings(softcap, z_loss, clamp, chunk, each)
    if torch.is_grad_enabled() and (x_ND.requires_grad or weight_VD.requires_grad):
        objective, cross_entropy = _LinearCrossEntropy.apply(x_ND, weight_VD, targets_N, settings, weights_N)
        return objective, cross_entropy
    objective, cross_entropy, _, _ = _by_chunks(x_ND, weight_VD, targets_N, settings, (False, False), weights_N)
    return objective, cross_entropy


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x_ND: Tensor,
        weight_VD: Tensor,
        targets_N: Tensor,
        settings: _Settings,
        weights_N: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        wanted = ctx.needs_input_grad[:2]
        objective, cross_entropy, *gradients = _by_chunks(x_ND, weight_VD, targets_N, settings, wanted, weights_N)
        ctx.gradients, ctx.dtypes = gradients, (x_ND.dtype, weight_VD.dtype)
        ctx.mark_non_differentiable(cross_entropy)
        return objective, cross_entropy

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.gradients is None:
            raise RuntimeError("linear_cross_entropy: its gradients are scaled in place, so there is one backward pass")
        gradients, ctx.gradients = ctx.gradients, None
        scaled = (None if gradient is None else gradient.mul_(upstream) for gradient in gradients)
        x_grad, weight_grad = (
            None if gradient is None else gradient.to(dtype) for gradient, dtype in zip(scaled, ctx.dtypes, strict=True)
        )
        return x_grad, weight_grad, None, None, None


def _by_chunks(
    x_ND: Tensor,
    weight_VD: Tensor,
    targets_N: Tensor,
    settings: _Settings,
    wanted: tuple[bool, bool],
    weights_N: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    """Objective, cross-entropy, and the objective's gradients of ``x`` and ``weight`` if they are ``wanted``."""
    device = x_ND.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight_VD.dtype
    x_ND, weight_VD = x_ND.detach().to(dtype), weight_VD.detach().to(dtype)
    sums = torch.float64 if dtype == torch.float64 else torch.float32
    N, V = len(x_ND), len(weight_VD)
    targets_NS = targets_N.view(N, -1)
    kept_NS = targets_NS != IGNORED
    kept_N = kept_NS.any(dim=1)
    ids_NS = torch.where(kept_NS, targets_NS, 0)
    losses_N = torch.empty(N, dtype=sums, device=x_ND.device)
    lse_N = torch.empty_like(losses_N)
    live_N1 = kept_N[:, None].clone()
    x_grad_ND = torch.empty_like(x_ND) if wanted[0] else None
    weight_grad_VD = torch.zeros_like(weight_VD, dtype=sums) if wanted[1] else None
    rows = max(1, CACHED_LOGITS // V) if device == "cpu" else settings.chunk

    with torch.autocast(device, enabled=False):
        for chunk in _slices(0, N, settings.chunk):
            x_nD = x_ND[chunk]
            logits_nV = x_nD @ weight_VD.T
            for part in _slices(chunk.start, chunk.stop, rows):
                logits = logits_nV[part.start - chunk.start : part.stop - chunk.start]
                losses_N[part], lse_N[part] = _softmax(logits, ids_NS[part], kept_NS[part], settings, sums, any(wanted))
            if settings.clamp is not None:
                live_N1[chunk] &= (losses_N[chunk] <= settings.clamp)[:, None] | losses_N[chunk].isnan()[:, None]
            # Clamped rows become 0 here, where they have D numbers, and not among the logits.
            if x_grad_ND is not None:
                x_grad_ND[chunk] = _scaled(torch.where(live_N1[chunk], logits_nV @ weight_VD, 0), weights_N, chunk)
            if weight_grad_VD is not None:
                weight_grad_VD += logits_nV.T @ _scaled(torch.where(live_N1[chunk], x_nD, 0), weights_N, chunk)

    losses_N = torch.where(kept_N, losses_N, 0)
    cross_entropy = losses_N.sum()
    objective = cross_entropy.clone() if settings.clamp is None else losses_N.clamp(max=settings.clamp).sum()
    if weights_N is not None:
        objective = (losses_N * weights_N).sum()
    if settings.z_loss:
        squares_N = torch.where(live_N1[:, 0], lse_N, 0).square() * kept_NS.sum(dim=1)
        objective = objective + settings.z_loss * squares_N.sum()
    return objective, losses_N if settings.each else cross_entropy, x_grad_ND, weight_grad_VD


def _scaled(rows_nD: Tensor, weights_N: Tensor | None, chunk: slice) -> Tensor:
    return rows_nD if weights_N is None else (rows_nD * weights_N[chunk, None]).to(rows_nD.dtype)


def _slices(start: int, stop: int, length: int) -> list[slice]:
    return [slice(first, min(first + length, stop)) for first in range(start, stop, length)]


def _softmax(
    logits_nV: Tensor, ids_nS: Tensor, kept_nS: Tensor, settings: _Settings, sums: torch.dtype, gradient: bool
) -> tuple[Tensor, Tensor]:
    """Cross-entropies and logsumexps (n,). With ``gradient``, the gradient of the logits is written over the logits."""
    capped_nV = logits_nV
    if settings.softcap is not None:
        capped_nV = settings.softcap * torch.tanh(logits_nV.to(sums) / settings.softcap)
    p_nV = torch.softmax(capped_nV, dim=-1, dtype=sums)
    # The largest probability is exp(largest logit - logsumexp). So no exponential is computed twice (on CPUs, torch.exp
    # is many times slower than softmax), and the logarithm of an underflowing probability is never taken.
    lse_n = capped_nV.amax(-1).to(sums) - p_nV.amax(-1).log()
    losses_nS = lse_n[:, None] - capped_nV.gather(1, ids_nS).to(sums)
    several = ids_nS.shape[1] > 1
    losses_n = torch.where(kept_nS, losses_nS, 0).sum(dim=1) if several else losses_nS[:, 0]
    if gradient:
        if settings.z_loss:
            p_nV *= 1 + 2 * settings.z_loss * lse_n[:, None]
        if several:
            p_nV *= kept_nS.sum(dim=1, keepdim=True)
            p_nV.scatter_add_(1, ids_nS, -kept_nS.to(sums))
        else:
            p_nV.scatter_add_(1, ids_nS, p_nV.new_full(ids_nS.shape, -1))
        if settings.softcap is not None:
            p_nV *= 1 - (capped_nV / settings.softcap).square()
        logits_nV.copy_(p_nV)
    return losses_n, lse_n
