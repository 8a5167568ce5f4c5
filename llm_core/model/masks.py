"""Attention masks: causality, windows and documents in one object, in the form that a backend needs.

T new tokens of this pass, S tokens that they may attend to: those of a decoding state, then the new ones.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask


@dataclass(frozen=True)
class Mask:
    """The keys that each query may see: not later, within ``window`` tokens, of the same document.

    Query t is token ``keys - length + t`` of the S = ``keys`` tokens. ``documents_BS`` is None if each row is one
    document. ``prepare_mask`` (``llm_core.model.attending``) adds the form for ``backend``.
    """

    length: int
    keys: int
    window: int | None
    documents_BS: Tensor | None  # noqa: N815
    slopes_H: Tensor | None  # noqa: N815
    """ALiBi: the decrease of a score per token of distance."""
    backend: str = "eager"
    dense: Tensor | None = None
    """For ``sdpa`` and ``eager``: (B or 1, 1, T, S) bool, or (B or 1, 1 or H, T, S) to be added to the scores; None if
    attention is only causal."""
    block_mask: BlockMask | None = None
    """For ``flex``."""
    offsets: Tensor | None = None
    """For ``varlen``: the starts of documents in the flattened batch, ascending, filled up with the end of the batch;
    int32."""

    @property
    def plain(self) -> bool:
        """Whether attention is only causal."""
        window = self.window is not None and self.window < self.keys
        return not window and self.documents_BS is None and self.slopes_H is None

    @property
    def square(self) -> bool:
        """Whether queries and keys are the same tokens, without a decoding state."""
        return self.length == self.keys


def visible(mask: Mask, device: torch.device) -> Tensor:
    """(B or 1, 1, T, S): whether the query (row) may see the key (column)."""
    keys_S = torch.arange(mask.keys, device=device)
    queries_T1 = keys_S[mask.keys - mask.length :, None]
    seen = queries_T1 >= keys_S
    if mask.window is not None and mask.window < mask.keys:
        seen = seen & (queries_T1 - keys_S < mask.window)
    if mask.documents_BS is None:
        return seen[None, None]
    documents_BT = mask.documents_BS[:, mask.keys - mask.length :]
    same_BTS = documents_BT[:, :, None] == mask.documents_BS[:, None, :]
    return (same_BTS & seen)[:, None]


def distances(mask: Mask, device: torch.device) -> Tensor:
    """(T, S) in fp32: the distance from a key to the query in tokens; negative for later keys."""
    keys_S = torch.arange(mask.keys, device=device, dtype=torch.float32)
    return keys_S[mask.keys - mask.length :, None] - keys_S


def dense_mask(mask: Mask, device: torch.device) -> Tensor | None:
    """``Mask.dense``: bool, or fp32 with slopes."""
    if mask.slopes_H is not None:
        penalties_HTS = -mask.slopes_H[:, None, None] * distances(mask, device)
        return penalties_HTS.masked_fill(~visible(mask, device), -torch.inf)
    if mask.plain and (mask.square or mask.length == 1):
        return None
    return visible(mask, device)
