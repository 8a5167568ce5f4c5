"""The short causal convolution of the mixers that are no attention: a channel at a time, a document at a time."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from llm_core.model.context import Context


class ConvolutionState:
    """The last J = K − 1 inputs of a convolution, those of the last token's document; zeros where nothing was."""

    def __init__(
        self, batch_size: int, kernel: int, channels: int, device: torch.device | str, dtype: torch.dtype
    ) -> None:
        self.inputs_BJC = torch.zeros((batch_size, kernel - 1, channels), device=device, dtype=dtype)


class CausalConvolution(nn.Module):
    """Every channel is a weighted sum of its own last ``kernel`` values."""

    def __init__(self, channels: int, kernel: int, bias: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels, kernel))
        self.bias = nn.Parameter(torch.empty(channels)) if bias else None

    def forward(self, x_BTC: Tensor, context: Context, state: ConvolutionState | None) -> Tensor:
        """(B, T, C) → (B, T, C) in the same type; ``state`` goes on to the end of ``x_BTC``."""
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

    ``before_BJC``: the J = K − 1 inputs before the first, of its document (zeros where nothing was). Sums are fp32; the
    result has the type of ``x_BTC``.

    A sum of shifted products instead of ``conv1d``: it knows documents, and it is one kernel when compiled. Eager on a
    CPU it takes one and a half times as long, which is little beside the products around it.
    """
    T, kernel = x_BTC.shape[1], weight_CK.shape[1]
    weight_CK = weight_CK.float()
    if before_BJC is None:
        padded_BUC = functional.pad(x_BTC, (0, 0, kernel - 1, 0))
    else:
        padded_BUC = torch.cat((before_BJC.to(x_BTC.dtype), x_BTC), dim=1)
    y_BTC = x_BTC * weight_CK[:, -1]
    for distance in range(1, kernel):
        term_BTC = padded_BUC[:, kernel - 1 - distance :][:, :T] * weight_CK[:, -1 - distance]
        if document_ids_BT is not None:
            same_BT = document_ids_BT[:, distance:] == document_ids_BT[:, :-distance]
            # What stands before the row is of the first token's document, or nothing.
            same_BT = functional.pad(same_BT, (distance, 0), value=True)[:, :T]
            term_BTC = term_BTC.where(same_BT[:, :, None], 0.0)
        y_BTC = y_BTC + term_BTC
    if bias_C is not None:
        y_BTC = y_BTC + bias_C.float()
    return y_BTC.to(x_BTC.dtype)


def last_inputs(x_BTC: Tensor, before_BJC: Tensor, document_ids_BT: Tensor | None) -> Tensor:
    """What goes on as ``before_BJC``: the last J inputs up to now, zeros for those of documents that have ended."""
    T, J = x_BTC.shape[1], before_BJC.shape[1]
    last_BJC = torch.cat((before_BJC, x_BTC.to(before_BJC.dtype)), dim=1)[:, T:]
    if document_ids_BT is None:
        return last_BJC
    ids_BU = torch.cat((document_ids_BT[:, :1].expand(-1, J), document_ids_BT), dim=1)
    return last_BJC * (ids_BU[:, T:] == ids_BU[:, -1:])[:, :, None]


def continued(state: Tensor, context: Context) -> Tensor:
    """``state`` (B, …), with zeros for rows in which the first new token begins another document."""
    if context.documents_BS is None or context.start == 0:
        return state
    goes_on_B = context.documents_BS[:, context.start] == context.documents_BS[:, context.start - 1]
    return state * goes_on_B.view(-1, *(1,) * (state.ndim - 1))
