"""The means of RWKV-4, whose weights decay with the distance (Peng et al., 2023), all at once.

For every channel, with w = exp(decay) > 0:

    y[t] = (Σ exp(k[i] − (t − 1 − i) · w) · v[i] + exp(k[t] + first) · v[t]) / (the same without v)

over the tokens i < t of its document. The two sums are made by doubling (Hillis and Steele, 1986): after the step with
``distance`` d, each token has those over itself and the 2d − 1 tokens before it. As keys have no bound, sums are held
times exp(−m), where m is the largest exponent in them.

Dimensions: B batch, T tokens, C channels, U = T + 1: the state before the first token, and the tokens.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

NOTHING = -1e38
"""The largest exponent of a sum over nothing: nothing that it is compared with is smaller, and no difference to it is
NaN."""


class Sums(NamedTuple):
    """Sums of weights · values and of weights, times exp(−``largest``), where ``largest`` is a constant for autograd:
    it drops out of the mean."""

    values: Tensor
    weights: Tensor
    largest: Tensor


def decaying_means(
    k_BTC: Tensor, v_BTC: Tensor, decay_C: Tensor, first_C: Tensor, before: Sums, document_ids_BU: Tensor | None
) -> tuple[Tensor, Sums]:
    """The means above, (B, T, C), and the sums after the last token, (B, C) each; all in fp32.

    ``before``: the sums before the first token. Where ``document_ids_BU`` (first that of ``before``) changes along a
    row, sums begin anew.
    """
    rate_C, number_BU1 = decay_C.exp(), None if document_ids_BU is None else _counted(document_ids_BU)
    largest_BTC = k_BTC.detach()
    own_BTC = (k_BTC - largest_BTC).exp()  # 1, but for gradients
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
    of_earlier, of_own = (earlier_BTC - largest_BTC).exp(), (exponent_BTC - largest_BTC).exp()
    values_BTC = of_earlier * sums.values[:, :-1] + of_own * v_BTC
    return values_BTC / (of_earlier * sums.weights[:, :-1] + of_own), last


def _joined(sums: Sums, rate_C: Tensor, distance: int, number_BU1: Tensor | None) -> Sums:
    """Each token's sums with those of the token ``distance`` before it, where that is of its document."""
    exponent = sums.largest[:, :-distance] - distance * rate_C
    if number_BU1 is not None:
        exponent = exponent.masked_fill(number_BU1[:, distance:] != number_BU1[:, :-distance], NOTHING)
    own = sums.largest[:, distance:]
    largest = torch.maximum(exponent.detach(), own)
    of_earlier, of_own = (exponent - largest).exp(), (own - largest).exp()
    values, weights = (
        torch.cat((part[:, :distance], part[:, :-distance] * of_earlier + part[:, distance:] * of_own), dim=1)
        for part in (sums.values, sums.weights)
    )
    return Sums(values, weights, torch.cat((sums.largest[:, :distance], largest), dim=1))


def _counted(document_ids_BU: Tensor) -> Tensor:
    """Each token's document, counted in its row, (B, U, 1): an id that comes again is of another document."""
    begins_BU = functional.pad(document_ids_BU[:, 1:] != document_ids_BU[:, :-1], (1, 0))
    return begins_BU.cumsum(1)[:, :, None]
