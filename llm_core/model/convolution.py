"""The short causal convolution of several mixers. It is depthwise and does not cross documents."""

from typing import Any, ClassVar

import torch
from torch import Generator, Tensor, nn

from llm_core.model.context import Context
from llm_core.model.init import Draws
from llm_core.model.state import Room


class ConvolutionState:
    """The last J = K − 1 inputs of a convolution that belong to the last token's document; zeros for the others."""

    def __init__(self, room: Room, kernel: int, channels: int) -> None:
        self.inputs_BJC = room.zeros(kernel - 1, channels)


def draw_taps(weight_CK: Tensor, generator: Generator | None) -> None:
    """Uniform between ±1/sqrt(K), which roughly keeps the scale of a channel."""
    bound = weight_CK.shape[1] ** -0.5
    weight_CK.uniform_(-bound, bound, generator=generator)


class CausalConvolution(nn.Module):
    """Each output channel is a weighted sum of the last ``kernel`` values of the same input channel."""

    draws: ClassVar[Draws] = {"weight": draw_taps}

    def __init__(self, channels: int, kernel: int, bias: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels, kernel))
        self.bias = nn.Parameter(torch.empty(channels)) if bias else None

    def forward(self, x_BTC: Tensor, context: Context, state: ConvolutionState | None) -> Tensor:
        """(B, T, C) → (B, T, C) in the same type. ``state`` is advanced to the last token of ``x_BTC``."""
        documents_BT = context.documents_BT
        before_BJC = None if state is None else continued(state.inputs_BJC, context)
        y_BTC = causal_convolution(x_BTC, self.weight, self.bias, document_ids_BT=documents_BT, before_BJC=before_BJC)
        if state is not None and before_BJC is not None:
            state.inputs_BJC = last_inputs(x_BTC, before_BJC, documents_BT)
        return y_BTC


def causal_convolution(
    x_BTC: Tensor,
    weight_CK: Tensor,
    bias_C: Tensor | None = None,
    *,
    document_ids_BT: Tensor | None = None,
    before_BJC: Tensor | None = None,
) -> Tensor:
    """y[t] = bias + Σ_j weight[:, K − 1 − j] · x[t − j] over the j < K with t − j in the document of t, (B, T, C).

    ``before_BJC``: the J = K − 1 inputs before the first token, of its document; zeros if there are fewer. Sums are
    fp32; the result has the type of ``x_BTC``.
    """
    if before_BJC is None:
        y_BTC: Tensor = _ShiftedProducts.apply(x_BTC, weight_CK, bias_C, document_ids_BT)
        return y_BTC
    J = before_BJC.shape[1]
    x_BUC = torch.cat((before_BJC.to(x_BTC.dtype), x_BTC), dim=1)
    ids_BU = (
        None if document_ids_BT is None else torch.cat((document_ids_BT[:, :1].expand(-1, J), document_ids_BT), dim=1)
    )
    y_BUC: Tensor = _ShiftedProducts.apply(x_BUC, weight_CK, bias_C, ids_BU)
    return y_BUC[:, J:]


class _ShiftedProducts(torch.autograd.Function):
    """The sum over taps and its gradients, computed in place. Autograd would pad and save every term.

    ``conv1d`` does not support documents. Without a compiler, this takes a quarter (fp32) to two fifths (bf16) of
    autograd's time on a CPU, and less than ``conv1d``. A compiler fuses it like other code.
    """

    @staticmethod
    def forward(
        ctx: Any, x_BTC: Tensor, weight_CK: Tensor, bias_C: Tensor | None, document_ids_BT: Tensor | None
    ) -> Tensor:
        ctx.save_for_backward(x_BTC, weight_CK, document_ids_BT)
        ctx.biased = bias_C is not None
        x, weight_CK = x_BTC.float(), weight_CK.float()
        y_BTC = x * weight_CK[:, -1]
        if bias_C is not None:
            y_BTC += bias_C
        for distance in range(1, weight_CK.shape[1]):
            earlier = _together(x[:, :-distance], document_ids_BT, distance)
            y_BTC[:, distance:].addcmul_(earlier, weight_CK[:, -1 - distance])
        return y_BTC.to(x_BTC.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor | None, None]:
        x_BTC, weight_CK, document_ids_BT = ctx.saved_tensors
        x, gradient_BTC, weight = x_BTC.float(), gradients[0].float(), weight_CK.float()
        of_x = gradient_BTC * weight[:, -1]
        of_taps = [(gradient_BTC * x).sum((0, 1))]
        for distance in range(1, weight.shape[1]):
            later = _together(gradient_BTC[:, distance:], document_ids_BT, distance)
            of_x[:, :-distance].addcmul_(later, weight[:, -1 - distance])
            of_taps.append((later * x[:, :-distance]).sum((0, 1)))
        of_bias = gradient_BTC.sum((0, 1)).to(weight_CK.dtype) if ctx.biased else None
        return of_x.to(x_BTC.dtype), torch.stack(of_taps[::-1], dim=1).to(weight_CK.dtype), of_bias, None


def _together(x_BUC: Tensor, document_ids_BT: Tensor | None, distance: int) -> Tensor:
    """``x_BUC``, one of the tokens of T − ``distance`` pairs, with zeros where a pair belongs to two documents."""
    if document_ids_BT is None:
        return x_BUC
    same_BU = document_ids_BT[:, distance:] == document_ids_BT[:, :-distance]
    return x_BUC * same_BU[:, :, None].float()


def last_inputs(x_BTC: Tensor, before_BJC: Tensor, document_ids_BT: Tensor | None) -> Tensor:
    """The next ``before_BJC``: the last J inputs, with zeros for those of earlier documents."""
    T, J = x_BTC.shape[1], before_BJC.shape[1]
    last_BJC = torch.cat((before_BJC, x_BTC.to(before_BJC.dtype)), dim=1)[:, T:]
    if document_ids_BT is None:
        return last_BJC
    ids_BU = torch.cat((document_ids_BT[:, :1].expand(-1, J), document_ids_BT), dim=1)
    return last_BJC * (ids_BU[:, T:] == ids_BU[:, -1:])[:, :, None]


def continued(state: Tensor, context: Context) -> Tensor:
    """``state`` (B, …), with zeros for rows whose first new token begins another document."""
    if context.documents_BS is None or context.start == 0:
        return state
    goes_on_B = context.documents_BS[:, context.start] == context.documents_BS[:, context.start - 1]
    return state * goes_on_B.view(-1, *(1,) * (state.ndim - 1))
