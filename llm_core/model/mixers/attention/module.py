"""Causal softmax attention: multi-head, grouped-query or multi-query, global or in a window, with its own keys and
values or those of an earlier layer."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from llm_core.experiment.layers import LayerSpec
from llm_core.experiment.model import ModelSpec
from llm_core.model.attending import attend
from llm_core.model.context import Context
from llm_core.model.fused import FusedLinear
from llm_core.model.init import Draws, zeros
from llm_core.model.mixers.attention.spec import Attention as AttentionSpec
from llm_core.model.state import KeyValueState, Room

KeyValue = tuple[Tensor, Tensor]


class Attention(nn.Module):
    """``n_heads`` heads of queries share ``n_kv_heads`` heads of keys and values (GQA: Ainslie et al., 2023).

    A layer with ``kv_from`` projects only queries, and attends to the keys and values of an earlier layer (Brandon et
    al., 2024; MixAttention: Rajput et al., 2024).
    """

    residual_writers = ("output.weight",)
    draws: ClassVar[Draws] = {"value_gate.weight": zeros}

    def __init__(self, spec: AttentionSpec, model: ModelSpec, layer: LayerSpec) -> None:
        super().__init__()
        self.n_heads, self.n_kv_heads, self.head_dim = spec.heads()
        self.index = layer.index
        self.own_kv = layer.kv_from is None
        self.window = spec.window
        # One matrix for all three: the rows of the query heads, the key heads, then the value heads.
        heads = (self.n_heads, *((self.n_kv_heads, self.n_kv_heads) if self.own_kv else ()))
        self.qkv = FusedLinear(
            model.d_model, [number * self.head_dim for number in heads], bias=model.bias or spec.qkv_bias
        )
        self.output = nn.Linear(self.n_heads * self.head_dim, model.d_model, bias=model.bias)
        norms = [layer.norm.module(width, model.bias) for width in spec.normalised(self.own_kv)]
        self.query_norm, self.key_norm = (*norms, None, None)[:2]
        self.joint_norms = spec.qk_norm_over == "all"
        self.position = spec.position.module(self.n_heads, self.head_dim)
        self.mask_key = mask_key(self.window, self.position.key if spec.position.biases else None)
        table = spec.value_embedding
        self.value_gate = None if table is None else nn.Linear(table.gate_channels, self.n_kv_heads, bias=False)
        self.gate_scale = 0.0 if table is None else table.gate_scale
        self.clip = spec.qkv_clip
        self.softcap = spec.softcap
        self.dropout = spec.dropout
        scale = self.head_dim**-0.5 if spec.scale is None else spec.scale
        self.scale = scale * self.position.score_scale

    def forward(
        self, x_BTD: Tensor, kv: KeyValue | None, context: Context, embedded_BTE: Tensor | None = None
    ) -> tuple[Tensor, KeyValue | None]:
        """(B, T, D) → (B, T, D), and keys and values for later layers, (B, K, S, C) each. ``kv``: those of
        ``kv_from``. ``embedded_BTE``: the value embeddings of the tokens, E = K · C."""
        B, T, _ = x_BTD.shape
        projected_BTHC = self.qkv(x_BTD).view(B, T, -1, self.head_dim)
        if self.clip is not None:
            projected_BTHC = projected_BTHC.clamp(-self.clip, self.clip)
        tables = context.tables.get(self.position.key)
        q_BTHC = projected_BTHC[:, :, : self.n_heads]
        q_BTHC = self._normalised(q_BTHC, self.query_norm)
        q_BHTC = self.position.rotate(q_BTHC.transpose(1, 2), tables)
        if self.own_kv:
            _, k_BTKC, v_BTKC = projected_BTHC.split((self.n_heads, self.n_kv_heads, self.n_kv_heads), dim=2)
            if self.value_gate is not None:
                assert embedded_BTE is not None
                gates_BTK = self.gate_scale * torch.sigmoid(self.value_gate(x_BTD[..., : self.value_gate.in_features]))
                embedded_BTKC = embedded_BTE.to(v_BTKC.dtype).view_as(v_BTKC)
                v_BTKC = v_BTKC + gates_BTK.to(v_BTKC.dtype)[..., None] * embedded_BTKC
            k_BTKC = self._normalised(k_BTKC, self.key_norm)
            kv = self.position.rotate(k_BTKC.transpose(1, 2), tables), v_BTKC.transpose(1, 2)
            state = None if context.state is None else context.layer_state(self.index)
            if state is not None:
                kv = state.extend(*kv)
        assert kv is not None
        mask, dropout = context.masks[self.mask_key], self.dropout if self.training else 0.0
        mixed_BHTC = attend(q_BHTC, *kv, mask, scale=self.scale, softcap=self.softcap, dropout=dropout)
        return self.output(mixed_BHTC.transpose(1, 2).reshape(B, T, self.n_heads * self.head_dim)), kv

    def _normalised(self, x_BTHC: Tensor, norm: nn.Module | None) -> Tensor:
        if norm is None:
            return x_BTHC
        normed: Tensor = norm(x_BTHC.flatten(2)).view(x_BTHC.shape) if self.joint_norms else norm(x_BTHC)
        return normed

    def new_state(self, room: Room) -> KeyValueState | None:
        """The state for keys and values; None for a layer without its own."""
        if not self.own_kv:
            return None
        return KeyValueState(room, self.n_kv_heads, (self.head_dim, self.head_dim), self.window)


def mask_key(window: int | None, slopes: str | None) -> str:
    """The key of a mask. Layers that see the same tokens with the same biases share it."""
    return f"window {window} {slopes or ''}"
