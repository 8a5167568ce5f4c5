"""FlashAttention (Dao, 2023) over the concatenated documents of a batch, by torch's ``varlen_attn``. CUDA only."""

from typing import Any

import torch
from torch import Tensor

from llm_core.model.masks import Mask

MEAN_DOCUMENT = 16
"""The smallest mean length of the documents of a micro-batch, in tokens. Only the device knows the number of documents,
and the host does not wait for it. So the offsets have room for this many documents, and the kernel skips empty ones."""

_TAKES_GROUPS = torch.__version__ >= "2.12"
"""Whether the kernel supports fewer heads of keys than of queries."""


def document_offsets(documents_BT: Tensor) -> Tensor:
    """``Mask.offsets``. A document ends at the end of its row, and padding is a document. If there are more documents
    than room for them (``MEAN_DOCUMENT``), a device assertion ends the run."""
    begins_BT = torch.ones_like(documents_BT, dtype=torch.bool)
    begins_BT[:, 1:] = documents_BT[:, 1:] != documents_BT[:, :-1]
    begins_N, tokens = begins_BT.flatten(), documents_BT.numel()
    room = documents_BT.shape[0] + tokens // MEAN_DOCUMENT
    torch._assert_async(
        begins_N.sum() <= room,
        f"attention_backend varlen: documents have less than {MEAN_DOCUMENT} tokens on average; take flex",
    )
    places_N = torch.where(begins_N, torch.arange(tokens, device=documents_BT.device), tokens)
    return torch.cat((places_N.sort().values[:room], places_N.new_full((1,), tokens))).int()


def variable_length_attention(q_BHTC: Tensor, k_BKTC: Tensor, v_BKTC: Tensor, mask: Mask, scale: float) -> Tensor:
    """See ``attend``."""
    from torch.nn.attention.varlen import varlen_attn  # the import takes two seconds, and most runs do not need it

    (B, H, T, C), K = q_BHTC.shape, k_BKTC.shape[1]
    if K != H and not _TAKES_GROUPS:
        k_BKTC, v_BKTC = (x.repeat_interleave(H // K, dim=1) for x in (k_BKTC, v_BKTC))
    grouped: dict[str, Any] = {"enable_gqa": True} if k_BKTC.shape[1] != H else {}
    offsets = mask.offsets
    if offsets is None:  # each row is one document
        offsets = torch.arange(0, B * T + 1, T, device=q_BHTC.device, dtype=torch.int32)
    q_NHC, k_NKC, v_NKC = (x.transpose(1, 2).flatten(0, 1) for x in (q_BHTC, k_BKTC, v_BKTC))
    # The number of keys left of the query; −1: no bound.
    left = -1 if mask.window is None or mask.window >= T else mask.window - 1
    mixed_NHC = varlen_attn(q_NHC, k_NKC, v_NKC, offsets, offsets, T, T, scale=scale, window_size=(left, 0), **grouped)
    assert isinstance(mixed_NHC, Tensor)
    return mixed_NHC.view(B, T, H, C).transpose(1, 2)
