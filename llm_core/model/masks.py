"""Who may see whom: causality, windows and documents in one object, in the form that a backend wants.

T new tokens of this pass, S tokens that they may look at: the new ones, and those of a decoding state before them.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask


@dataclass(frozen=True)
class Mask:
    """The keys that each query may see: none later, within ``window`` tokens, of its own document.

    Query t is token ``keys - length + t`` of the S = ``keys`` tokens. ``documents_BS`` is None where each row is one
    document. ``backend`` finds its form ready made: see ``prepare_mask`` in ``llm_core.model.attending``.
    """

    length: int
    keys: int
    window: int | None
    documents_BS: Tensor | None  # noqa: N815
    slopes_H: Tensor | None  # noqa: N815
    """ALiBi: what a key loses in score for every token of distance."""
    backend: str = "eager"
    dense: Tensor | None = None
    """``sdpa``, ``eager``: (B or 1, 1, T, S) bool, or (B or 1, 1 or H, T, S) to be added to the scores; None where
    causality is all there is."""
    block_mask: BlockMask | None = None
    """``flex``."""
    offsets: Tensor | None = None
    """``varlen``: where documents begin in the flattened batch, in ascending order, then its end as often as it takes
    to fill the tensor; int32."""

    @property
    def plain(self) -> bool:
        """Whether causality is all there is."""
        window = self.window is not None and self.window < self.keys
        return not window and self.documents_BS is None and self.slopes_H is None

    @property
    def square(self) -> bool:
        """Whether there is no decoding state, so that queries and keys are the same tokens."""
        return self.length == self.keys


def visible(mask: Mask, device: torch.device) -> Tensor:
    """(B or 1, 1, T, S), true where the query (row) may see the key (column)."""
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
    """(T, S): how many tokens a key stands before the query; negative for later ones. fp32."""
    keys_S = torch.arange(mask.keys, device=device, dtype=torch.float32)
    return keys_S[mask.keys - mask.length :, None] - keys_S


def dense_mask(mask: Mask, device: torch.device) -> Tensor | None:
    """What ``Mask.dense`` says: bool, or fp32 where there are slopes."""
    if mask.slopes_H is not None:
        penalties_HTS = -mask.slopes_H[:, None, None] * distances(mask, device)
        return penalties_HTS.masked_fill(~visible(mask, device), -torch.inf)
    if mask.plain and (mask.square or mask.length == 1):
        return None
    return visible(mask, device)
