"""Grouped-query causal attention, and the mask that keeps documents apart."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from llm_core.experiment.model import ModelSpec
from llm_core.model.cache import KVCache
from llm_core.registries import NORMS


def causal_document_mask(document_ids_BT: Tensor) -> Tensor:
    """(B, 1, T, T), true where the query's token (row) may see the key's: not later, and of the same document."""
    same_BTT = document_ids_BT[:, :, None] == document_ids_BT[:, None, :]
    return same_BTT.tril()[:, None]


def continuation_mask(start: int, length: int, device: torch.device) -> Tensor:
    """(T, S), true where token ``start + row`` of a cached sequence may see token ``column``."""
    return torch.ones(length, start + length, dtype=torch.bool, device=device).tril(start)


class Attention(nn.Module):
    """Queries in ``n_heads`` heads share ``n_kv_heads`` heads of keys and values (GQA: Ainslie et al., 2023).

    With ``qk_norm``, queries and keys are normalised a head at a time before they are turned (Dehghani et al., 2023).
    """

    def __init__(self, spec: ModelSpec, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.n_heads = spec.n_heads
        self.n_kv_heads = spec.n_kv_heads
        self.head_dim = spec.head_dim
        # One product for all three: rows are the query heads, then the key heads, then the value heads.
        self.qkv = nn.Linear(spec.d_model, (spec.n_heads + 2 * spec.n_kv_heads) * spec.head_dim, bias=False)
        self.output = nn.Linear(spec.n_heads * spec.head_dim, spec.d_model, bias=False)
        norm = NORMS.load(spec.norm)
        self.query_norm = norm(spec.head_dim, spec.norm_eps) if spec.qk_norm else None
        self.key_norm = norm(spec.head_dim, spec.norm_eps) if spec.qk_norm else None

    def forward(
        self, x_BTD: Tensor, position: nn.Module, prepared: object, mask: Tensor | None, cache: KVCache | None
    ) -> Tensor:
        """(B, T, D) → (B, T, D). Without ``mask``, attention is causal, and a cache must be empty or T be 1."""
        B, T, _ = x_BTD.shape
        heads = (self.n_heads, self.n_kv_heads, self.n_kv_heads)
        qkv_BTHC = self.qkv(x_BTD).view(B, T, sum(heads), self.head_dim)
        q_BTHC, k_BTKC, v_BTKC = qkv_BTHC.split(heads, dim=2)
        if self.query_norm is not None and self.key_norm is not None:
            q_BTHC, k_BTKC = self.query_norm(q_BTHC), self.key_norm(k_BTKC)
        q_BHTC = position(q_BTHC.transpose(1, 2), prepared)
        k_BKSC = position(k_BTKC.transpose(1, 2), prepared)
        v_BKSC = v_BTKC.transpose(1, 2)
        if cache is not None:
            k_BKSC, v_BKSC = cache.extend(self.layer, k_BKSC, v_BKSC)
        grouped = self.n_heads != self.n_kv_heads
        if grouped and mask is not None:
            # CUDA's fused kernels take a mask or grouped heads; with both, SDPA would write out all T × S scores.
            k_BKSC, v_BKSC = (x.repeat_interleave(self.n_heads // self.n_kv_heads, dim=1) for x in (k_BKSC, v_BKSC))
            grouped = False
        mixed_BHTC = functional.scaled_dot_product_attention(
            q_BHTC,
            k_BKSC,
            v_BKSC,
            attn_mask=mask,
            # One new token sees everything before it; "causal" would align it with the first key.
            is_causal=mask is None and T > 1,
            enable_gqa=grouped,
        )
        return self.output(mixed_BHTC.transpose(1, 2).reshape(B, T, self.n_heads * self.head_dim))
