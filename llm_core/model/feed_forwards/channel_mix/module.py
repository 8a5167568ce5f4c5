"""Channel mixing of RWKV: feed-forwards whose input is a mixture of each token and the previous one."""

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional

from llm_core.experiment.layers import LayerSpec
from llm_core.experiment.model import ModelSpec
from llm_core.model.context import Context
from llm_core.model.feed_forwards.channel_mix.spec import Rwkv4ChannelMix as Rwkv4Spec
from llm_core.model.feed_forwards.channel_mix.spec import Rwkv7ChannelMix as Rwkv7Spec
from llm_core.model.init import Draws, zeros
from llm_core.model.state import Room
from llm_core.model.token_shift import Ramp, ShiftState, TokenShift, depth_left


class _ChannelMix(nn.Module):
    residual_writers = ("down.weight",)

    def __init__(self, spec: Rwkv4Spec | Rwkv7Spec, model: ModelSpec, layer: LayerSpec, ramps: Sequence[Ramp]) -> None:
        super().__init__()
        self.index, self.width = layer.index, model.d_model
        self.shift = TokenShift(model.d_model, ramps)
        self.up = nn.Linear(model.d_model, spec.d_ff, bias=False)
        self.down = nn.Linear(spec.d_ff, model.d_model, bias=False)

    def new_state(self, room: Room) -> ShiftState:
        """The last token's input."""
        return ShiftState(room, self.width)


class Rwkv7ChannelMix(_ChannelMix):
    """down(max(0, up(shifted))²) (Peng et al., 2025). ``down`` is initialised to zero."""

    draws: ClassVar[Draws] = {"down.weight": zeros}

    def __init__(self, spec: Rwkv7Spec, model: ModelSpec, layer: LayerSpec) -> None:
        super().__init__(spec, model, layer, [Ramp(depth_left(model, layer) ** 4)])

    def forward(self, x_BTD: Tensor, context: Context) -> Tensor:
        """(B, T, D) → (B, T, D)."""
        (x_BTD,) = self.shift(x_BTD, context, context.feed_forward_state(self.index))
        hidden_BTF = functional.relu(self.up(x_BTD))
        return self.down(hidden_BTF * hidden_BTF)  # CUDA's autocast computes powers in fp32, also squares


class Rwkv4ChannelMix(_ChannelMix):
    """sigmoid(gate(shifted)) · down(max(0, up(shifted))²) (Peng et al., 2023), each with its own token shift. ``gate``
    and ``down`` are initialised to zero."""

    draws: ClassVar[Draws] = {"gate.weight": zeros, "down.weight": zeros}

    def __init__(self, spec: Rwkv4Spec, model: ModelSpec, layer: LayerSpec) -> None:
        super().__init__(spec, model, layer, [Ramp(depth_left(model, layer))] * 2)
        self.gate = nn.Linear(model.d_model, model.d_model, bias=False)

    def forward(self, x_BTD: Tensor, context: Context) -> Tensor:
        """(B, T, D) → (B, T, D)."""
        up_BTD, gate_BTD = self.shift(x_BTD, context, context.feed_forward_state(self.index))
        hidden_BTF = functional.relu(self.up(up_BTD))
        return self.gate(gate_BTD).sigmoid() * self.down(hidden_BTF * hidden_BTF)
