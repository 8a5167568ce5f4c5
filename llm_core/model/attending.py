"""Softmax attention behind one function, whatever kernel does it.

``sdpa`` runs everywhere; ``explicit`` writes out all scores, which softcaps need where no kernel knows them. A backend
is chosen for a whole forward pass (``choose_backend``), so that its form of the mask is made once.
"""

import dataclasses

import torch
from torch import Tensor
from torch.nn import functional

from llm_core.model.masks import Mask, distances, visible


def prepare_mask(mask: Mask, backend: str, device: torch.device) -> Mask:
    """``mask`` with the form that ``backend`` wants."""
    del backend
    if mask.slopes_H is not None:
        penalties_HTS = -mask.slopes_H[:, None, None] * distances(mask, device)
        dense = penalties_HTS.masked_fill(~visible(mask, device), -torch.inf)
    elif mask.plain and (mask.square or mask.length == 1):
        return mask
    else:
        dense = visible(mask, device)
    return dataclasses.replace(mask, dense=dense)


def attend(
    q_BHTC: Tensor, k_BKSC: Tensor, v_BKSE: Tensor, mask: Mask, *, scale: float, softcap: float | None
) -> Tensor:
    """(B, H, T, E): for every query the mean of the values it may see, weighted by softmax(scale · q·k).

    K key heads serve H query heads in equal groups. With ``softcap`` c, scores become c · tanh(score / c).
    """
    groups = q_BHTC.shape[1] // k_BKSC.shape[1]
    if softcap is not None:
        return _explicit(q_BHTC, k_BKSC, v_BKSE, mask, scale, softcap)
    if groups > 1 and mask.dense is not None:
        # CUDA's fused kernels take a mask or grouped heads; with both, SDPA would write out all T × S scores.
        k_BKSC, v_BKSE = (x.repeat_interleave(groups, dim=1) for x in (k_BKSC, v_BKSE))
        groups = 1
    dense = mask.dense
    return functional.scaled_dot_product_attention(
        q_BHTC,
        k_BKSC,
        v_BKSE,
        attn_mask=dense if dense is None or dense.dtype == torch.bool else dense.to(q_BHTC.dtype),
        # One new token sees everything before it; "causal" would align it with the first key.
        is_causal=dense is None and mask.length > 1,
        scale=scale,
        enable_gqa=groups > 1,
    )


def _explicit(q_BHTC: Tensor, k_BKSC: Tensor, v_BKSE: Tensor, mask: Mask, scale: float, softcap: float) -> Tensor:
    groups = q_BHTC.shape[1] // k_BKSC.shape[1]
    k_BHSC, v_BHSE = (x.repeat_interleave(groups, dim=1) for x in (k_BKSC, v_BKSE))
    scores_BHTS = softcap * torch.tanh((q_BHTC @ k_BHSC.mT).float() * (scale / softcap))
    if mask.dense is not None and mask.dense.dtype != torch.bool:
        scores_BHTS = scores_BHTS + mask.dense
    else:
        seen = visible(mask, q_BHTC.device) if mask.dense is None else mask.dense
        scores_BHTS = scores_BHTS.masked_fill(~seen, -torch.inf)
    return scores_BHTS.softmax(dim=-1).to(v_BHSE.dtype) @ v_BHSE
