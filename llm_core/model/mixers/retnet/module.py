"""Multi-scale retention, the mixer of RetNet (Sun et al., 2023, arXiv:2307.08621)."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from llm_core.experiment.layers import LayerSpec
from llm_core.experiment.model import ModelSpec
from llm_core.model.context import Context
from llm_core.model.convolution import continued
from llm_core.model.fused import FusedLinear
from llm_core.model.mixers.retnet.spec import Retention as RetentionSpec
from llm_core.model.scan import Inputs, scan
from llm_core.model.state import Room


class RetentionState:
    """For every head the decayed sum of value ⊗ key over all tokens read, in fp32: bf16 would lose small
    contributions."""

    def __init__(self, room: Room, shape: tuple[int, int, int]) -> None:
        self.sums_BHPN = room.zeros(*shape, dtype=torch.float32)


def log_decays(n_heads: int, device: torch.device) -> Tensor:
    """(H,) in fp32: ln γ, with γ = 1 − 2^(−5 − h) for head h. The first head remembers about 32 tokens, and each
    following head twice as many."""
    return torch.log1p(-torch.exp2(-5.0 - torch.arange(n_heads, device=device, dtype=torch.float32)))


class Retention(nn.Module):
    """output(silu(gate) · norm(retention(q, k, v))), where gate, q, k and v are projections of the input.

    For every head, with a state S of (P, N) that begins with zero:

        S[t] = γ · S[t − 1] + v[t] ⊗ k[t]
        y[t] = S[t] · q[t] / sqrt(N)

    Positions rotate q and k. The norm is the paper's group norm: mean 0 and variance 1 over the channels of a head. It
    has no weights, since ``output`` can scale channels as well. The paper's other two normalisations, of the decays and
    of the sums of scores, are left out, because this norm undoes them.

    Retention is the scan of Mamba-2 with a step of 1, so ``llm_core.model.scan`` computes it. Dimensions are those of
    the scan: N channels of a head's queries and keys, P of its values; I channels of all heads.
    """

    residual_writers = ("output.weight",)

    def __init__(self, spec: RetentionSpec, model: ModelSpec, layer: LayerSpec) -> None:
        super().__init__()
        keys, values = model.d_model, spec.expand * model.d_model
        self.index, self.chunk, self.eps = layer.index, spec.chunk, layer.norm.eps
        self.state_shape = spec.n_heads, values // spec.n_heads, keys // spec.n_heads
        # The rows of the queries, the keys, the values, then the gate.
        self.input = FusedLinear(model.d_model, (keys, keys, values, values), model.bias)
        self.output = nn.Linear(values, model.d_model, bias=model.bias)
        self.position = spec.position.module(spec.n_heads, keys // spec.n_heads)
        self.scale = (keys // spec.n_heads) ** -0.5 * self.position.score_scale

    def forward(self, x_BTD: Tensor, _kv: None, context: Context) -> tuple[Tensor, None]:
        """(B, T, D) → (B, T, D), without keys and values for later layers."""
        B, T, _ = x_BTD.shape
        H = self.state_shape[0]
        q_BTI, k_BTI, v_BTI, gate_BTI = self.input(x_BTD).split(self.input.parts, dim=-1)
        tables = context.tables.get(self.position.key)
        q_BTHN, k_BTHN = (
            self.position.rotate(y_BTI.view(B, T, H, -1).transpose(1, 2), tables).transpose(1, 2)
            for y_BTI in (q_BTI, k_BTI * self.scale)
        )
        y_BTHP = self._retention(q_BTHN, k_BTHN, v_BTI.view(B, T, H, -1), context)
        with torch.autocast(x_BTD.device.type, enabled=False):  # see ``llm_core.model.norms.module``
            y_BTHP = functional.layer_norm(y_BTHP, y_BTHP.shape[-1:], eps=self.eps)
        return self.output(functional.silu(gate_BTI) * y_BTHP.flatten(2)), None

    def _retention(self, q_BTHN: Tensor, k_BTHN: Tensor, v_BTHP: Tensor, context: Context) -> Tensor:
        """y of the recurrence above, (B, T, H, P). A decoding state is advanced to the last token."""
        state, device = context.layer_state(self.index), v_BTHP.device
        before_BHPN = None if state is None else continued(state.sums_BHPN, context)
        steps_BTH = torch.ones(v_BTHP.shape[:3], device=device)
        decays_H, skips_H = log_decays(self.state_shape[0], device), torch.zeros(self.state_shape[0], device=device)
        inputs = Inputs(v_BTHP, steps_BTH, decays_H, k_BTHN, q_BTHN, skips_H)
        y_BTHP, last_BHPN = scan(inputs, chunk=self.chunk, document_ids_BT=context.documents_BT, state_BHPN=before_BHPN)
        if state is not None:
            state.sums_BHPN = last_BHPN
        return y_BTHP

    def new_state(self, room: Room) -> RetentionState:
        """The state of the recurrence. Its size is constant."""
        return RetentionState(room, self.state_shape)
