"""Attention by plain matrix products. It supports everything on every device."""

import torch
from torch import Tensor
from torch.nn import functional

from llm_core.model.masks import Mask

QUERIES = 128
"""Queries per block. Keys that no query of a block sees are not computed."""


def eager_attention(
    q_BHTC: Tensor,
    k_BKSC: Tensor,
    v_BKSE: Tensor,
    mask: Mask,
    scale: float,
    softcap: float | None,
    dropout: float = 0.0,
) -> Tensor:
    """See ``attend``. Scores are fp32. Keys and values of a group of heads are not copied for each head."""
    B, K = k_BKSC.shape[:2]
    q_BKGTC, k_NSC, v_NSE = q_BHTC.unflatten(1, (K, -1)), k_BKSC.flatten(0, 1), v_BKSE.flatten(0, 1)
    before = mask.keys - mask.length
    mixed = []
    for start in range(0, mask.length, QUERIES):
        stop = min(start + QUERIES, mask.length)
        first = 0 if mask.window is None else max(0, before + start - mask.window + 1)
        keys = slice(first, before + stop)
        q_NQC = q_BKGTC[:, :, :, start:stop].reshape(B * K, -1, q_BKGTC.shape[-1])
        scores_BKGTS = (q_NQC @ k_NSC[:, keys].mT).view(B, K, -1, stop - start, keys.stop - first).float() * scale
        if softcap is not None:
            scores_BKGTS = softcap * torch.tanh(scores_BKGTS / softcap)
        scores_BKGTS = _masked(scores_BKGTS, mask, slice(start, stop), keys)
        weights_NQS = scores_BKGTS.softmax(dim=-1).to(v_NSE.dtype).flatten(2, 3).flatten(0, 1)
        if dropout:
            weights_NQS = functional.dropout(weights_NQS, dropout)
        mixed.append((weights_NQS @ v_NSE[:, keys]).view(B, q_BHTC.shape[1], stop - start, -1))
    return mixed[0] if len(mixed) == 1 else torch.cat(mixed, dim=2)


def _masked(scores_BKGTS: Tensor, mask: Mask, queries: slice, keys: slice) -> Tensor:
    if mask.dense is None:
        if mask.length == 1:
            return scores_BKGTS
        places = torch.arange(keys.stop, device=scores_BKGTS.device)
        hidden = places[keys] > places[mask.keys - mask.length + queries.start :, None]
        return scores_BKGTS.masked_fill(hidden, -torch.inf)
    dense = mask.dense[:, :, queries, keys]
    if dense.dtype == torch.bool:
        return scores_BKGTS.masked_fill(~dense[:, :, None], -torch.inf)
    heads = scores_BKGTS.shape[1:3] if dense.shape[1] > 1 else (1, 1)
    return scores_BKGTS + dense.unflatten(1, heads)
