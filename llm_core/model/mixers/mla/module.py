"""Multi-head latent attention (DeepSeek-AI, 2024, DeepSeek-V2): one latent vector for keys and values of all heads."""

import torch
from torch import Tensor, nn

from llm_core.experiment.layers import LayerSpec
from llm_core.experiment.model import ModelSpec
from llm_core.model.attending import attend
from llm_core.model.context import Context
from llm_core.model.fused import FusedLinear
from llm_core.model.masks import Mask
from llm_core.model.mixers.attention.module import mask_key
from llm_core.model.mixers.mla.spec import LatentAttention as LatentAttentionSpec
from llm_core.model.state import KeyValueState, Room


class LatentAttention(nn.Module):
    """Attention that caches, per token, one latent vector and one rotated key for all heads together.

    A head's key consists of a projection of the latent and the shared rotated key. Its value is a projection of the
    latent. Queries may have their own latent (``q_rank``). Dimensions: R latent, N channels of a key without position,
    P channels with position, C = N + P, E channels of a value.
    """

    residual_writers = ("output.weight",)

    def __init__(self, spec: LatentAttentionSpec, model: ModelSpec, layer: LayerSpec) -> None:
        super().__init__()
        self.index, self.window = layer.index, spec.window
        self.n_heads = spec.n_heads
        self.rank, self.nope_dim, self.rope_dim = spec.kv_rank, spec.nope_dim, spec.rope_dim
        self.value_dim = spec.value_dim
        key_dim = spec.nope_dim + spec.rope_dim
        q_rank = spec.q_rank
        self.query_down = None if q_rank is None else nn.Linear(model.d_model, q_rank, bias=model.bias)
        self.query_norm = None if q_rank is None else layer.norm.module(q_rank, model.bias)
        self.query_up = nn.Linear(q_rank or model.d_model, self.n_heads * key_dim, bias=False)
        # The rows of the latent, then of the shared key. Projections of a latent have no bias, as in the published
        # models.
        self.kv_down = FusedLinear(model.d_model, (self.rank, self.rope_dim), model.bias)
        self.kv_norm = layer.norm.module(self.rank, model.bias)
        # The rows of the keys without position of all heads, then of the values of all heads.
        self.expanded = self.n_heads * self.nope_dim, self.n_heads * self.value_dim
        self.kv_up = FusedLinear(self.rank, self.expanded, bias=False)
        self.output = nn.Linear(self.n_heads * self.value_dim, model.d_model, bias=model.bias)
        self.position = spec.position.module(self.n_heads, self.rope_dim)
        self.mask_key = mask_key(self.window, None)
        self.softcap = spec.softcap
        self.dropout = spec.dropout
        scale = key_dim**-0.5 if spec.scale is None else spec.scale
        self.scale = scale * self.position.score_scale

    def forward(self, x_BTD: Tensor, _kv: None, context: Context) -> tuple[Tensor, None]:
        """(B, T, D) → (B, T, D), without keys and values for later layers."""
        B, T, _ = x_BTD.shape
        q_BTR = x_BTD
        if self.query_down is not None and self.query_norm is not None:
            q_BTR = self.query_norm(self.query_down(x_BTD))
        q_BHTC = self.query_up(q_BTR).view(B, T, self.n_heads, -1).transpose(1, 2)
        q_BHTN, q_BHTP = q_BHTC.split((self.nope_dim, self.rope_dim), dim=-1)
        tables = context.tables.get(self.position.key)
        q_BHTP = self.position.rotate(q_BHTP, tables)
        latent_BTR, key_BTP = self.kv_down(x_BTD).split((self.rank, self.rope_dim), dim=-1)
        latent_B1SR = self.kv_norm(latent_BTR)[:, None]
        key_B1SP = self.position.rotate(key_BTP[:, None], tables)
        state = context.layer_state(self.index)
        mask = context.masks[self.mask_key]
        if state is None:
            mixed_BHTE = self._expanded(q_BHTN, q_BHTP, latent_B1SR, key_B1SP, mask)
        else:
            # One tensor for both, which serves as the keys for a single new token.
            both_B1SC = torch.cat((latent_B1SR, key_B1SP), dim=-1)
            both_B1SC, _ = state.extend(both_B1SC, both_B1SC[..., :0])
            if T == 1:
                mixed_BHTE = self._absorbed(q_BHTN, q_BHTP, both_B1SC, mask)
            else:
                latent_B1SR, key_B1SP = both_B1SC.split((self.rank, self.rope_dim), dim=-1)
                mixed_BHTE = self._expanded(q_BHTN, q_BHTP, latent_B1SR, key_B1SP, mask)
        return self.output(mixed_BHTE.transpose(1, 2).reshape(B, T, -1)), None

    def _expanded(self, q_BHTN: Tensor, q_BHTP: Tensor, latent_B1SR: Tensor, key_B1SP: Tensor, mask: Mask) -> Tensor:
        """Attention with the keys and values of every head computed: the least work for many queries."""
        B, _, S, _ = latent_B1SR.shape
        k_BHSN, v_BHSE = (
            part.view(B, S, self.n_heads, -1).transpose(1, 2)
            for part in self.kv_up(latent_B1SR[:, 0]).split(self.expanded, dim=-1)
        )
        k_BHSC = torch.cat((k_BHSN, key_B1SP.expand(-1, self.n_heads, -1, -1)), dim=-1)
        q_BHTC = torch.cat((q_BHTN, q_BHTP), dim=-1)
        dropout = self.dropout if self.training else 0.0
        return attend(q_BHTC, k_BHSC, v_BHSE, mask, scale=self.scale, softcap=self.softcap, dropout=dropout)

    def _absorbed(self, q_BH1N: Tensor, q_BH1P: Tensor, both_B1SC: Tensor, mask: Mask) -> Tensor:
        """The same for one query: q · (W k) = (Wᵀ q) · k, so all heads attend to the latents, and the cache is never
        expanded."""
        up_HNR, up_HER = (part.view(self.n_heads, -1, self.rank) for part in self.kv_up.weight.split(self.expanded))
        q_BH1C = torch.cat((torch.einsum("bhtn,hnr->bhtr", q_BH1N, up_HNR), q_BH1P), dim=-1)
        latent_B1SR = both_B1SC[..., : self.rank]
        mixed_BH1R = attend(q_BH1C, both_B1SC, latent_B1SR, mask, scale=self.scale, softcap=self.softcap)
        return torch.einsum("bhtr,her->bhte", mixed_BH1R, up_HER)

    def new_state(self, room: Room) -> KeyValueState:
        """The state for latents and shared keys."""
        return KeyValueState(room, 1, (self.rank + self.rope_dim, 0), self.window)
