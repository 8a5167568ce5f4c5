"""Shared parts of chunked scans: padding to whole chunks, documents within chunks, sums within documents.

Dimensions: B batch, T tokens, Z chunks, L tokens of a chunk, U = Z · L.
"""

import torch
from torch import Tensor
from torch.nn import functional


def padded(x: Tensor, length: int) -> Tensor:
    """``x`` with zeros after the last token (dimension 1), up to ``length``."""
    missing = length - x.shape[1]
    return x if missing == 0 else functional.pad(x, (0, 0) * (x.ndim - 2) + (0, missing))


def chunk_documents(
    document_ids_BT: Tensor | None, batch: int, chunks: int, length: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Each token's document as its number in the row, (B, Z, L), and the document of each chunk's initial state,
    (B, Z, 1).

    The state before the row belongs to the first document, number 0.
    """
    number_BU = torch.zeros((batch, chunks * length), dtype=torch.int32, device=device)
    if document_ids_BT is not None:
        number_BU[:, 1 : document_ids_BT.shape[1]] = document_ids_BT[:, 1:] != document_ids_BT[:, :-1]
        number_BU = number_BU.cumsum(1)
    number_BZL = number_BU.view(batch, chunks, length)
    return number_BZL, functional.pad(number_BZL[:, :-1, -1], (1, 0))[:, :, None]


def running_sums(x_BZHL: Tensor, number_BZ1L: Tensor) -> Tensor:
    """Cumulative sums within each chunk and document, including the token itself.

    By doubling (Hillis and Steele, 1986). With differences of ``cumsum``, the values before a document would affect the
    rounding of sums and gradients within it.
    """
    distance = 1
    while distance < x_BZHL.shape[-1]:
        same_BZ1L = number_BZ1L[..., distance:] == number_BZ1L[..., :-distance]
        x_BZHL = x_BZHL + functional.pad(x_BZHL[..., :-distance] * same_BZ1L, (distance, 0))
        distance *= 2
    return x_BZHL
