"""Softmax attention as one function over several kernels.

One backend serves a whole forward pass (``llm_core.model.backends``), so its form of the mask is built once and not in
every layer.
"""

import dataclasses

import torch
from torch import Tensor
from torch.nn import functional

from llm_core.model.eager import eager_attention
from llm_core.model.flex import block_mask, flexible_attention
from llm_core.model.masks import Mask, dense_mask
from llm_core.model.varlen import document_offsets, variable_length_attention

GROUPS_WITH_MASK = ("cpu",)
"""Devices whose fused kernels support a mask together with grouped heads. CUDA's support only one of them: with both,
SDPA would write out all T × S scores, so keys and values are repeated for every head of a group."""


def prepare_mask(mask: Mask, backend: str, device: torch.device, dtype: torch.dtype = torch.float32) -> Mask:
    """``mask`` with the form for ``backend``. ``dtype``: that of the queries.

    With a decoding state, ``flex`` and ``varlen`` are replaced, since they need as many queries as keys. A single query
    always uses ``eager``: a kernel would save nothing.
    """
    if not mask.square and backend in ("flex", "varlen"):
        backend = "eager"
    if mask.length == 1:
        backend = "eager"
    mask = dataclasses.replace(mask, backend=backend)
    if backend == "flex":
        return dataclasses.replace(mask, block_mask=block_mask(mask, device))
    if backend == "varlen":
        offsets = None if mask.documents_BS is None else document_offsets(mask.documents_BS)
        return dataclasses.replace(mask, offsets=offsets)
    dense = dense_mask(mask, device)
    if backend == "sdpa" and dense is not None:
        # Its kernels add masks of the queries' type. Another type would be converted in every layer.
        zeros = torch.zeros((), device=device, dtype=dtype)
        dense = zeros.masked_fill(~dense, -torch.inf) if dense.dtype == torch.bool else dense.to(dtype)
    return dataclasses.replace(mask, dense=dense)


def attend(
    q_BHTC: Tensor,
    k_BKSC: Tensor,
    v_BKSE: Tensor,
    mask: Mask,
    *,
    scale: float,
    softcap: float | None,
    dropout: float = 0.0,
) -> Tensor:
    """(B, H, T, E): for every query the mean of the visible values, weighted by softmax(scale · q·k).

    K key heads serve H query heads in equal groups. With ``softcap`` c, scores become c · tanh(score / c).
    ``dropout``: the rate at which weights are dropped; the others are scaled up to compensate.
    """
    if mask.backend == "eager":
        return eager_attention(q_BHTC, k_BKSC, v_BKSE, mask, scale, softcap, dropout)
    assert not dropout or mask.backend == "sdpa", "choose_backend"
    if mask.backend == "flex":
        return flexible_attention(q_BHTC, k_BKSC, v_BKSE, mask, scale, softcap)
    assert softcap is None, "choose_backend"
    # The other kernels need equal widths; otherwise sdpa would write out all T × S scores. Zeros change no result.
    width, widest = v_BKSE.shape[-1], max(q_BHTC.shape[-1], v_BKSE.shape[-1])
    if mask.backend == "varlen":
        widest = -(-widest // 8) * 8  # FlashAttention supports multiples of 8; sdpa pads by itself
    q_BHTC, k_BKSC, v_BKSE = (_widened(x, widest) for x in (q_BHTC, k_BKSC, v_BKSE))
    if mask.backend == "varlen":
        return variable_length_attention(q_BHTC, k_BKSC, v_BKSE, mask, scale)[..., :width]
    return _sdpa(q_BHTC, k_BKSC, v_BKSE, mask, scale, dropout)[..., :width]


def _widened(x: Tensor, width: int) -> Tensor:
    """``x`` with zeros appended to its last dimension, up to ``width``."""
    return x if x.shape[-1] == width else functional.pad(x, (0, width - x.shape[-1]))


def _sdpa(q_BHTC: Tensor, k_BKSC: Tensor, v_BKSC: Tensor, mask: Mask, scale: float, dropout: float) -> Tensor:
    groups = q_BHTC.shape[1] // k_BKSC.shape[1]
    if groups > 1 and mask.dense is not None and q_BHTC.device.type not in GROUPS_WITH_MASK:
        k_BKSC, v_BKSC = (x.repeat_interleave(groups, dim=1) for x in (k_BKSC, v_BKSC))
        groups = 1
    return functional.scaled_dot_product_attention(
        q_BHTC,
        k_BKSC,
        v_BKSC,
        attn_mask=mask.dense,
        dropout_p=dropout,
        is_causal=mask.dense is None,
        scale=scale,
        enable_gqa=groups > 1,
    )
