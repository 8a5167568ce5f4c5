"""The weighted means of RWKV-4 for all tokens at once. Weights decay with the distance (Peng et al., 2023).

For every channel, with w = exp(decay) > 0:

    y[t] = (Σ exp(k[i] − (t − 1 − i) · w) · v[i] + exp(k[t] + first) · v[t]) / (the same without v)

over the tokens i < t of the same document. Doubling computes the two sums (Hillis and Steele, 1986): after the step
with ``distance`` d, each token has the sums over itself and the 2d − 1 previous tokens. Keys have no bound, so sums are
stored as multiples of exp(m), where m is their largest exponent.

Dimensions: B batch, T tokens, C channels, U = T + 1: the state before the first token, and the tokens.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

NOTHING = -1e38
"""The largest exponent of an empty sum. It is smaller than all others, and its differences to them are not NaN."""


class Sums(NamedTuple):
    """Sums of weights · values and of weights, times exp(−``largest``). For autograd, ``largest`` is a constant, since
    it cancels in the mean."""

    values: Tensor
    weights: Tensor
    largest: Tensor


def decaying_means(
    k_BTC: Tensor, v_BTC: Tensor, decay_C: Tensor, first_C: Tensor, before: Sums, document_ids_BU: Tensor | None
) -> tuple[Tensor, Sums]:
    """The means above, (B, T, C), and the sums after the last token, (B, C) each; all in fp32.

    ``before``: the sums before the first token. Sums restart where ``document_ids_BU`` changes along a row; its first
    id is that of ``before``.
    """
    rate_C, number_BU1 = decay_C.exp(), None if document_ids_BU is None else _counted(document_ids_BU)
    largest_BTC = k_BTC.detach()
    own_BTC = (k_BTC - largest_BTC).exp()  # 1, but it has gradients
    sums = Sums(
        torch.cat((before.values[:, None], own_BTC * v_BTC), dim=1),
        torch.cat((before.weights[:, None], own_BTC), dim=1),
        torch.cat((before.largest[:, None], largest_BTC), dim=1),
    )
    distance = 1
    while distance < sums.values.shape[1]:
        sums = _joined(sums, rate_C, distance, number_BU1)
        distance *= 2
    last = Sums(*(part[:, -1] for part in sums))

    earlier_BTC = sums.largest[:, :-1]
    if number_BU1 is not None:
        earlier_BTC = earlier_BTC.masked_fill(number_BU1[:, 1:] != number_BU1[:, :-1], NOTHING)
    exponent_BTC = k_BTC + first_C
    largest_BTC = torch.maximum(earlier_BTC, exponent_BTC.detach())
    of_earlier_BTC, of_own_BTC = (earlier_BTC - largest_BTC).exp(), (exponent_BTC - largest_BTC).exp()
    values_BTC = of_earlier_BTC * sums.values[:, :-1] + of_own_BTC * v_BTC
    return values_BTC / (of_earlier_BTC * sums.weights[:, :-1] + of_own_BTC), last


def _joined(sums: Sums, rate_C: Tensor, distance: int, number_BU1: Tensor | None) -> Sums:
    """The sums of each token plus those of the token ``distance`` before it, if that is of the same document.

    W = U − ``distance``: the tokens that have such an earlier token.
    """
    exponent_BWC = sums.largest[:, :-distance] - distance * rate_C
    if number_BU1 is not None:
        exponent_BWC = exponent_BWC.masked_fill(number_BU1[:, distance:] != number_BU1[:, :-distance], NOTHING)
    own_BWC = sums.largest[:, distance:]
    largest_BWC = torch.maximum(exponent_BWC.detach(), own_BWC)
    of_earlier_BWC, of_own_BWC = (exponent_BWC - largest_BWC).exp(), (own_BWC - largest_BWC).exp()
    values_BUC, weights_BUC = (
        torch.cat(
            (part_BUC[:, :distance], part_BUC[:, :-distance] * of_earlier_BWC + part_BUC[:, distance:] * of_own_BWC),
            dim=1,
        )
        for part_BUC in (sums.values, sums.weights)
    )
    return Sums(values_BUC, weights_BUC, torch.cat((sums.largest[:, :distance], largest_BWC), dim=1))


def _counted(document_ids_BU: Tensor) -> Tensor:
    """(B, U, 1): the number of each token's document in the row. An id that returns is another document."""
    begins_BU = functional.pad(document_ids_BU[:, 1:] != document_ids_BU[:, :-1], (1, 0))
    return begins_BU.cumsum(1)[:, :, None]
