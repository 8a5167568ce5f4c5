"""RWKV-7: time mixing by a generalised delta rule with token-dependent decays and rates (Peng et al., 2025)."""

import math
from collections.abc import Callable

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from llm_core.experiment.layers import LayerSpec
from llm_core.experiment.model import ModelSpec
from llm_core.model.context import Context
from llm_core.model.convolution import continued
from llm_core.model.init import Draws, zeros
from llm_core.model.mixers.rwkv7.recurrence import Inputs, chunked_recurrence, recurrent_step
from llm_core.model.mixers.rwkv7.spec import Rwkv7 as Rwkv7Spec
from llm_core.model.state import Room
from llm_core.model.token_shift import Ramp, ShiftState, TokenShift, depth_left, depth_reached

SHIFTS = {"receptance": 0.2, "decay": 0.9, "key": 0.7, "value": 0.7, "rate": 0.9, "gate": 0.2}
"""The maps with token shift, and the exponents of their ramps in the first layer."""

Ramps = Callable[[Tensor, Tensor], Tensor]
"""The place of a channel in the model, from 0 to 1, and in its head, from −1 to 1 → its initial value."""


class Rwkv7State(ShiftState):
    """The last input, and the state of the recurrence in fp32: bf16 would lose small contributions."""

    def __init__(self, room: Room, heads: int, head_dim: int) -> None:
        super().__init__(room, heads * head_dim)
        self.recurrence_BHNN = room.zeros(heads, head_dim, head_dim, dtype=torch.float32)


class Rwkv7(nn.Module):
    """output((norm(recurrence(r, w, k, v, q, rate)) + bonus) · gate), all of them maps of token-shifted inputs.

    In the paper, q is the removal key κ̂, rate the in-context learning rate a, ``removal`` is ξ, ``replacement`` α,
    ``bonus`` ρ. Later layers use the values of the first layer, not its keys. Dimensions are those of ``recurrence``.
    """

    residual_writers = ("output.weight",)

    def __init__(self, spec: Rwkv7Spec, model: ModelSpec, layer: LayerSpec) -> None:
        super().__init__()
        width, (head_dim, decay_rank, rate_rank, value_rank, gate_rank) = model.d_model, spec.sizes()
        self.index, self.chunk = layer.index, spec.chunk
        self.heads, self.head_dim = width // head_dim, head_dim
        left, reached = depth_left(model, layer), depth_reached(model, layer)
        self.shift = TokenShift(width, [Ramp(exponent * left) for exponent in SHIFTS.values()])
        self.receptance, self.key, self.value = (nn.Linear(width, width, bias=False) for _ in range(3))
        power = 1 + reached**0.3
        self.decay = LowRank(
            width, decay_rank, head_dim, lambda place, own: 6 * place**power - 5.5 + 2.5 * own * own.abs()
        )
        self.rate = LowRank(
            width, rate_rank, head_dim, lambda place, own: -0.19 + 0.3 * own * own.abs() + 0.4 * (place - 0.5)
        )
        self.value_share = (
            LowRank(width, value_rank, head_dim, lambda place, _: 0.73 - 0.4 * (place - 0.5))
            if spec.value_residual
            else None
        )
        self.gate = LowRank(width, gate_rank, head_dim, None)
        self.removal = nn.Parameter(torch.empty(width))
        self.replacement = nn.Parameter(torch.empty(width))
        self.bonus = nn.Parameter(torch.empty(width))
        self.norm = HeadNorm(width, head_dim, head_dim * layer.norm.eps)
        self.output = nn.Linear(width, width, bias=False)
        self.draws: Draws = {
            "output.weight": zeros,
            "removal": by_channel(head_dim, lambda place, _: 0.71 - 0.1 * (place - 0.5)),
            "replacement": by_channel(head_dim, lambda place, _: torch.full_like(place, 1.02)),
            "bonus": by_channel(head_dim, lambda place, _: torch.full_like(place, -0.04)),
        }

    def forward(
        self, x_BTD: Tensor, kv: tuple[Tensor, Tensor] | None, context: Context
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """(B, T, D) → (B, T, D), and the layer's own keys and values. ``kv``: those of the first layer."""
        for_r_BTD, for_decay_BTD, for_k_BTD, for_v_BTD, for_rate_BTD, for_gate_BTD = self.shift(
            x_BTD, context, context.layer_state(self.index)
        )
        r_BTD, k_BTD, own_BTD = self.receptance(for_r_BTD), self.key(for_k_BTD), self.value(for_v_BTD)
        v_BTD = own_BTD
        if self.value_share is not None:
            assert kv is not None
            v_BTD = v_BTD + (kv[1] - v_BTD) * self.value_share(for_v_BTD).sigmoid().to(v_BTD.dtype)
        decay_BTD, rate_BTD = self.decay(for_decay_BTD, torch.tanh), self.rate(for_rate_BTD)
        with torch.autocast(x_BTD.device.type, enabled=False):
            r_BTHN, decay_BTHN, k_BTHN, v_BTHN, rate_BTHN = (
                y_BTD.float().unflatten(-1, (self.heads, -1)) for y_BTD in (r_BTD, decay_BTD, k_BTD, v_BTD, rate_BTD)
            )
            removal_HN, replacement_HN, bonus_HN = (
                vector_D.float().view(self.heads, -1) for vector_D in (self.removal, self.replacement, self.bonus)
            )
            rate_BTHN = rate_BTHN.sigmoid()
            q_BTHN = functional.normalize(k_BTHN * removal_HN, dim=-1)
            k_BTHN = k_BTHN * (1 + (rate_BTHN - 1) * replacement_HN)
            log_w_BTHN = -math.exp(-0.5) * decay_BTHN.sigmoid()
            y_BTHN = self._recurrence(Inputs(r_BTHN, log_w_BTHN, k_BTHN, v_BTHN, q_BTHN, rate_BTHN), context)
            y_BTHN = self.norm(y_BTHN) + (r_BTHN * k_BTHN * bonus_HN).sum(-1, keepdim=True) * v_BTHN
        gated_BTD = y_BTHN.flatten(2).to(r_BTD.dtype) * self.gate(for_gate_BTD, torch.sigmoid)
        return self.output(gated_BTD), (k_BTD, own_BTD)

    def _recurrence(self, inputs: Inputs, context: Context) -> Tensor:
        """y (B, T, H, N) in fp32. A decoding state is advanced to the last token."""
        state: Rwkv7State | None = context.layer_state(self.index)
        before_BHNN = None if state is None else continued(state.recurrence_BHNN, context)
        if before_BHNN is not None and context.length == 1:
            y_BTHN, last_BHNN = recurrent_step(inputs, before_BHNN)
        else:
            y_BTHN, last_BHNN = chunked_recurrence(
                inputs, chunk=self.chunk, document_ids_BT=context.documents_BT, state_BHNN=before_BHNN
            )
        if state is not None:
            state.recurrence_BHNN = last_BHNN
        return y_BTHN

    def new_state(self, room: Room) -> Rwkv7State:
        """The states of token shift and recurrence. Their size is constant."""
        return Rwkv7State(room, self.heads, self.head_dim)


class LowRank(nn.Module):
    """second(f(first(x))) with ``rank`` hidden channels (R), plus a bias in fp32 unless ``ramps`` is None.

    ``first`` is initialised to zero, ``second`` to a tenth of an orthogonal matrix, the bias by ``ramps``.
    """

    def __init__(self, width: int, rank: int, head_dim: int, ramps: Ramps | None) -> None:
        super().__init__()
        self.first = nn.Linear(width, rank, bias=False)
        self.second = nn.Linear(rank, width, bias=False)
        self.bias = None if ramps is None else nn.Parameter(torch.empty(width))
        biases = {} if ramps is None else {"bias": by_channel(head_dim, ramps)}
        self.draws: Draws = {"first.weight": zeros, "second.weight": draw_orthogonal, **biases}

    def forward(self, x_BTD: Tensor, function: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """(B, T, D) → (B, T, D)."""
        hidden_BTR = self.first(x_BTD)
        y_BTD = self.second(hidden_BTR if function is None else function(hidden_BTR))
        return y_BTD if self.bias is None else y_BTD.float() + self.bias.float()


class HeadNorm(nn.Module):
    """LayerNorm of each head, with a weight and a bias per channel."""

    def __init__(self, width: int, head_dim: int, eps: float) -> None:
        super().__init__()
        self.head_dim, self.eps = head_dim, eps
        self.weight, self.bias = (nn.Parameter(torch.empty(width)) for _ in range(2))

    def forward(self, x_BTHN: Tensor) -> Tensor:
        """(B, T, H, N) → the same, in fp32."""
        weight_HN, bias_HN = (vector.float().view(-1, self.head_dim) for vector in (self.weight, self.bias))
        return functional.layer_norm(x_BTHN, (self.head_dim,), None, None, self.eps) * weight_HN + bias_HN


def by_channel(head_dim: int, ramps: Ramps) -> Callable[[Tensor, Generator | None], None]:
    """The function that initialises a vector by ``ramps``."""

    def draw(vector_D: Tensor, _: Generator | None) -> None:
        numbers_D = torch.arange(len(vector_D), device=vector_D.device, dtype=vector_D.dtype)
        in_head_D = 2 * (numbers_D % head_dim) / max(head_dim - 1, 1) - 1
        vector_D.copy_(ramps(numbers_D / max(len(vector_D) - 1, 1), in_head_D))

    return draw


def draw_orthogonal(matrix: Tensor, generator: Generator | None) -> None:
    """A tenth of a random matrix with orthogonal rows or columns (Saxe et al., 2014), at the scale of a square
    matrix."""
    gain = max(1.0, matrix.shape[0] / matrix.shape[1]) ** 0.5
    nn.init.orthogonal_(matrix, 0.1 * gain, generator=generator)
