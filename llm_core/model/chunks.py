"""What scans that go chunk by chunk have in common: whole chunks, documents in them, sums that stay in a document.

Dimensions: B batch, T tokens, Z chunks, L tokens of a chunk, U = Z · L.
"""

import torch
from torch import Tensor
from torch.nn import functional


def padded(x: Tensor, length: int) -> Tensor:
    """Zeros behind the last token (dimension 1) up to ``length``."""
    missing = length - x.shape[1]
    return x if missing == 0 else functional.pad(x, (0, 0) * (x.ndim - 2) + (0, missing))


def chunk_documents(
    document_ids_BT: Tensor | None, batch: int, chunks: int, length: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Each token's document, counted in its row, (B, Z, L); and that of the state which a chunk begins with, (B, Z, 1).

    The state before the row is of the first document, number 0.
    """
    number_BU = torch.zeros((batch, chunks * length), dtype=torch.int32, device=device)
    if document_ids_BT is not None:
        number_BU[:, 1 : document_ids_BT.shape[1]] = document_ids_BT[:, 1:] != document_ids_BT[:, :-1]
        number_BU = number_BU.cumsum(1)
    number_BZL = number_BU.view(batch, chunks, length)
    return number_BZL, functional.pad(number_BZL[:, :-1, -1], (1, 0))[:, :, None]


def running_sums(x_BZHL: Tensor, number_BZ1L: Tensor) -> Tensor:
    """Sums over the tokens of the chunk and of the same document, up to each token, its own included.

    By doubling (Hillis and Steele, 1986). Differences of ``cumsum`` would be rounded by what stands before the
    document, and so would their gradients.
    """
    distance = 1
    while distance < x_BZHL.shape[-1]:
        same_BZ1L = number_BZ1L[..., distance:] == number_BZ1L[..., :-distance]
        x_BZHL = x_BZHL + functional.pad(x_BZHL[..., :-distance] * same_BZ1L, (distance, 0))
        distance *= 2
    return x_BZHL
