"""The short causal convolution of the mixers that are no attention, a channel at a time and a document at a time."""

import torch
from torch import Tensor
from torch.nn import functional


def causal_convolution(
    x_BTC: Tensor,
    weight_CK: Tensor,
    bias_C: Tensor | None = None,
    *,
    document_ids_BT: Tensor | None = None,
    before_BJC: Tensor | None = None,
) -> Tensor:
    """y[t] = bias + Σ_j weight[:, K − 1 − j] · x[t − j] over the j < K that lie in the document of t, (B, T, C).

    ``before_BJC``: the J = K − 1 inputs before the first (zeros where nothing was), in the document of the first.
    Sums are fp32; the result has the type of ``x_BTC``.

    A sum of shifted products instead of ``conv1d``: it knows documents, it fuses into one kernel when compiled, and
    eager on a CPU it takes less than twice the time, which is little beside the products around it.
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
            together_BT = document_ids_BT[:, distance:] == document_ids_BT[:, :-distance]
            # What stands before the row is nothing, or a state of the first token's document.
            together_BT = functional.pad(together_BT, (distance, 0), value=True)[:, :T]
            term_BTC = term_BTC.where(together_BT[:, :, None], 0.0)
        y_BTC = y_BTC + term_BTC
    if bias_C is not None:
        y_BTC = y_BTC + bias_C.float()
    return y_BTC.to(x_BTC.dtype)


def last_inputs(x_BTC: Tensor, before_BJC: Tensor) -> Tensor:
    """What the next call of ``causal_convolution`` needs as ``before_BJC``: the last J inputs up to now."""
    return torch.cat((before_BJC, x_BTC.to(before_BJC.dtype)), dim=1)[:, x_BTC.shape[1] :]
