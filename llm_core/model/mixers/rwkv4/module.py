"""RWKV-4: time mixing by weighted means whose weights decay with the distance (Peng et al., 2023)."""

import math

import torch
from torch import Generator, Tensor, nn

from llm_core.experiment.layers import LayerSpec
from llm_core.experiment.model import ModelSpec
from llm_core.model.context import Context
from llm_core.model.init import Draws, zeros
from llm_core.model.mixers.rwkv4.means import NOTHING, Sums, decaying_means
from llm_core.model.mixers.rwkv4.spec import Rwkv4 as Rwkv4Spec
from llm_core.model.state import Room
from llm_core.model.token_shift import Ramp, ShiftState, TokenShift, depth_left, depth_reached


class Rwkv4State(ShiftState):
    """The last input, and the sums of the means in fp32, which are empty at first."""

    def __init__(self, room: Room, channels: int) -> None:
        super().__init__(room, channels)
        self.sums_B3C = empty_sums(room.batch_size, channels, room.device)


def empty_sums(batch_size: int, channels: int, device: torch.device | str) -> Tensor:
    """Empty ``Sums``, (B, 3, C)."""
    sums_B3C = torch.zeros((batch_size, 3, channels), device=device, dtype=torch.float32)
    sums_B3C[:, 2] = NOTHING
    return sums_B3C


class Rwkv4(nn.Module):
    """output(sigmoid(receptance) · means(key, value)), all of them maps of token-shifted inputs.

    ``decay`` is log w and ``first`` is u of the paper. All matrices except ``value`` are initialised to zero.
    """

    residual_writers = ("output.weight",)

    def __init__(self, _spec: Rwkv4Spec, model: ModelSpec, layer: LayerSpec) -> None:
        super().__init__()
        self.index, self.width = layer.index, model.d_model
        left, reached = depth_left(model, layer), depth_reached(model, layer)
        self.shift = TokenShift(model.d_model, [Ramp(left), Ramp(left, 0.3 * reached), Ramp(0.5 * left)])
        self.key, self.value, self.receptance, self.output = (
            nn.Linear(model.d_model, model.d_model, bias=False) for _ in range(4)
        )
        self.decay, self.first = (nn.Parameter(torch.empty(model.d_model)) for _ in range(2))
        self.decay_power = 0.7 + 1.3 * reached
        self.draws: Draws = {
            **dict.fromkeys(("key.weight", "receptance.weight", "output.weight"), zeros),
            "decay": self._draw_decay,
            "first": draw_first,
        }

    def forward(self, x_BTD: Tensor, _kv: None, context: Context) -> tuple[Tensor, None]:
        """(B, T, D) → (B, T, D), without keys and values for later layers."""
        state = context.layer_state(self.index)
        for_k_BTD, for_v_BTD, for_r_BTD = self.shift(x_BTD, context, state)
        k_BTD, v_BTD, r_BTD = self.key(for_k_BTD), self.value(for_v_BTD), self.receptance(for_r_BTD).sigmoid()
        before_B3C = empty_sums(len(x_BTD), self.width, x_BTD.device) if state is None else state.sums_B3C
        documents_BU = context.documents_BS
        if documents_BU is not None:
            first = max(context.start - 1, 0)  # the document of the sums; at the start, that of the first token
            documents_BU = documents_BU[:, first:]
            if context.start == 0:
                documents_BU = torch.cat((documents_BU[:, :1], documents_BU), dim=1)
        with torch.autocast(x_BTD.device.type, enabled=False):
            y_BTD, sums = decaying_means(
                k_BTD.float(),
                v_BTD.float(),
                self.decay.float(),
                self.first.float(),
                Sums(*before_B3C.unbind(1)),
                documents_BU,
            )
        if state is not None:
            state.sums_B3C = torch.stack(sums, dim=1)
        return self.output(r_BTD * y_BTD.to(r_BTD.dtype)), None

    def new_state(self, room: Room) -> Rwkv4State:
        """The states of token shift and means. Their size is constant."""
        return Rwkv4State(room, self.width)

    def _draw_decay(self, decay_D: Tensor, _: Generator | None) -> None:
        """From −5 to 3: the first channels hardly forget, the last ones forget at once. In later layers, more hardly
        forget."""
        places_D = torch.linspace(0, 1, len(decay_D), device=decay_D.device, dtype=decay_D.dtype)
        decay_D.copy_(8 * places_D**self.decay_power - 5)


def draw_first(first_D: Tensor, _: Generator | None) -> None:
    """log(0.3) plus −0.5, 0 and 0.5 in turn, so that neighbouring channels differ."""
    numbers_D = torch.arange(len(first_D), device=first_D.device, dtype=first_D.dtype)
    first_D.copy_(math.log(0.3) + 0.5 * ((numbers_D + 1) % 3 - 1))
