"""The selective scan of Mamba: a linear recurrence per channel and number of its state (Gu and Dao, 2023).

For every channel i and number n of its state, with h zero or given at the start:

    h[t] = exp(dt[t] · A) · h[t − 1] + dt[t] · B[t] · x[t]
    y[t] = Σ_n C[t] · h[t] + D · x[t]

Decays differ per channel and number, so there are no matrix products as in Mamba-2's scan. Chunks follow one another;
within a chunk, doubling sums all tokens at once (Hillis and Steele, 1986). Only the state before each chunk is saved:
the backward pass computes the states within a chunk again.

Dimensions here: B batch, T tokens, L tokens of a chunk, I channels, N numbers of a channel's state.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class Inputs(NamedTuple):
    """The inputs of the scan in fp32. ``dt_BTI``: steps, not negative. ``A_IN``: negative."""

    x_BTI: Tensor  # noqa: N815
    dt_BTI: Tensor  # noqa: N815
    A_IN: Tensor
    B_BTN: Tensor
    C_BTN: Tensor
    D_I: Tensor


def selective_scan(
    inputs: Inputs, before_BIN: Tensor, *, chunk: int, document_ids_BT: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The recurrence above for all tokens: y (B, T, I), and the last state (B, I, N); all in fp32.

    ``before_BIN``: the state before the first token, of its document. The state becomes zero where ``document_ids_BT``
    changes along a row. ``chunk``: L, which changes only the rounding. Differentiable in ``inputs``, not in states.
    """
    begins_BT = None
    if document_ids_BT is not None:
        begins_BT = torch.zeros_like(document_ids_BT, dtype=torch.bool)
        begins_BT[:, 1:] = document_ids_BT[:, 1:] != document_ids_BT[:, :-1]
    with torch.autocast(inputs.x_BTI.device.type, enabled=False):
        y_BTI, last_BIN = _Scan.apply(*inputs, before_BIN, begins_BT, chunk)
    return y_BTI, last_BIN


class _Scan(torch.autograd.Function):
    """The loop over chunks, and its gradients chunk by chunk, from the last one to the first."""

    @staticmethod
    def forward(
        ctx: Any,
        x_BTI: Tensor,
        dt_BTI: Tensor,
        A_IN: Tensor,
        B_BTN: Tensor,
        C_BTN: Tensor,
        D_I: Tensor,
        before_BIN: Tensor,
        begins_BT: Tensor | None,
        chunk: int,
    ) -> tuple[Tensor, Tensor]:
        starts, y_BTI = [], x_BTI * D_I
        for at in range(0, x_BTI.shape[1], chunk):
            part = slice(at, at + chunk)
            starts.append(before_BIN)
            u_BLI = dt_BTI[:, part] * x_BTI[:, part]
            states_BLIN = _states(_decays(dt_BTI, A_IN, begins_BT, part), u_BLI, B_BTN[:, part], before_BIN)
            y_BTI[:, part] += (states_BLIN @ C_BTN[:, part, :, None]).squeeze(-1)
            before_BIN = states_BLIN[:, -1]
        ctx.save_for_backward(x_BTI, dt_BTI, A_IN, B_BTN, C_BTN, D_I, torch.stack(starts, dim=1), begins_BT)
        ctx.chunk = chunk
        ctx.mark_non_differentiable(before_BIN)
        return y_BTI, before_BIN

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_BTI: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        x_BTI, dt_BTI, A_IN, B_BTN, C_BTN, D_I, starts_BZIN, begins_BT = ctx.saved_tensors
        of_x_BTI, of_dt_BTI, of_A_IN = gradient_BTI * D_I, torch.empty_like(dt_BTI), torch.zeros_like(A_IN)
        of_B_BTN, of_C_BTN = torch.empty_like(B_BTN), torch.empty_like(C_BTN)
        after_BIN = torch.zeros_like(starts_BZIN[:, 0])  # the gradient of the state that the next chunk begins with
        for number in reversed(range(starts_BZIN.shape[1])):
            part = slice(number * ctx.chunk, (number + 1) * ctx.chunk)
            x_BLI, dt_BLI, B_BLN, C_BLN, y_BLI = (
                tensor[:, part] for tensor in (x_BTI, dt_BTI, B_BTN, C_BTN, gradient_BTI)
            )
            before_BIN = starts_BZIN[:, number]
            decays_BLIN = _decays(dt_BTI, A_IN, begins_BT, part)
            states_BLIN = _states(decays_BLIN, dt_BLI * x_BLI, B_BLN, before_BIN)
            # The gradient of a state is that of its output plus the decayed gradient of the next state: a scan from
            # the last token to the first.
            later_BLIN = torch.cat((decays_BLIN[:, 1:], torch.ones_like(decays_BLIN[:, :1])), dim=1)
            of_states_BLIN = _scanned(
                later_BLIN.flip(1), (y_BLI[..., None] * C_BLN[:, :, None]).flip(1), after_BIN
            ).flip(1)
            earlier_BLIN = torch.cat((before_BIN[:, None], states_BLIN[:, :-1]), dim=1)
            of_exponents_BLIN = of_states_BLIN * decays_BLIN * earlier_BLIN
            of_u_BLI = (of_states_BLIN @ B_BLN[..., None]).squeeze(-1)
            of_x_BTI[:, part] += of_u_BLI * dt_BLI
            of_dt_BTI[:, part] = of_u_BLI * x_BLI + (of_exponents_BLIN * A_IN).sum(-1)
            of_A_IN += (of_exponents_BLIN * dt_BLI[..., None]).sum((0, 1))
            of_B_BTN[:, part] = ((dt_BLI * x_BLI)[:, :, None] @ of_states_BLIN).squeeze(2)
            of_C_BTN[:, part] = (y_BLI[:, :, None] @ states_BLIN).squeeze(2)
            after_BIN = of_states_BLIN[:, 0] * decays_BLIN[:, 0]
        of_D_I = (gradient_BTI * x_BTI).sum((0, 1))
        return of_x_BTI, of_dt_BTI, of_A_IN, of_B_BTN, of_C_BTN, of_D_I, None, None, None


def _decays(dt_BTI: Tensor, A_IN: Tensor, begins_BT: Tensor | None, part: slice) -> Tensor:
    """exp(dt · A) of the tokens of a chunk, (B, L, I, N); 0 where a document begins."""
    decays_BLIN = (dt_BTI[:, part, :, None] * A_IN).exp()
    return decays_BLIN if begins_BT is None else decays_BLIN * ~begins_BT[:, part, None, None]


def _states(decays_BLIN: Tensor, u_BLI: Tensor, B_BLN: Tensor, before_BIN: Tensor) -> Tensor:
    """The states after each token of a chunk, (B, L, I, N)."""
    return _scanned(decays_BLIN, u_BLI[..., None] * B_BLN[:, :, None], before_BIN)


def _scanned(decays_BLIN: Tensor, sums_BLIN: Tensor, before_BIN: Tensor) -> Tensor:
    """h[t] = decay[t] · h[t − 1] + sum[t], by doubling: after the step with ``distance`` d, each token has the sum over
    itself and the 2d − 1 tokens before it."""
    first_BIN = sums_BLIN[:, 0] + decays_BLIN[:, 0] * before_BIN
    sums_BLIN = torch.cat((first_BIN[:, None], sums_BLIN[:, 1:]), dim=1)
    distance = 1
    while distance < sums_BLIN.shape[1]:
        added_BLIN = sums_BLIN[:, distance:] + decays_BLIN[:, distance:] * sums_BLIN[:, :-distance]
        sums_BLIN = torch.cat((sums_BLIN[:, :distance], added_BLIN), dim=1)
        # The first tokens are complete: their decays are not used again.
        decays_BLIN = torch.cat(
            (decays_BLIN[:, :distance], decays_BLIN[:, distance:] * decays_BLIN[:, :-distance]), dim=1
        )
        distance *= 2
    return sums_BLIN
