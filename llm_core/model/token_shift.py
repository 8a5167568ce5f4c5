"""Token shift: the inputs of maps are mixtures of each token and the previous one (Peng et al., 2023, RWKV)."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from llm_core.experiment.layers import LayerSpec
from llm_core.experiment.model import ModelSpec
from llm_core.model.context import Context
from llm_core.model.convolution import ConvolutionState, continued
from llm_core.model.state import Room


class ShiftState(ConvolutionState):
    """The last input, which is the state of a convolution with two taps."""

    def __init__(self, room: Room, channels: int) -> None:
        super().__init__(room, 2, channels)


class Ramp(NamedTuple):
    """The initial shares of one map: (channel / channels) ^ ``exponent`` + ``offset``."""

    exponent: float
    offset: float = 0.0


def depth_left(model: ModelSpec, layer: LayerSpec) -> float:
    """1 in the first layer, and almost 0 in the last."""
    return 1.0 - layer.index / model.n_layers


def depth_reached(model: ModelSpec, layer: LayerSpec) -> float:
    """0 in the first layer, 1 in the last."""
    return layer.index / max(model.n_layers - 1, 1)


class TokenShift(nn.Module):
    """share · x[t] + (1 − share) · x[t − 1], with a share for each of M maps and each channel.

    ``ramps``: the initial shares of each map. They grow with the channel: the first channels see the previous token,
    the last ones the token itself.
    """

    def __init__(self, channels: int, ramps: Sequence[Ramp]) -> None:
        super().__init__()
        self.ramps = tuple(ramps)
        self.shares = nn.Parameter(torch.empty(len(self.ramps), channels))
        self.draws = {"shares": self._draw}

    def forward(self, x_BTD: Tensor, context: Context, state: ShiftState | None) -> tuple[Tensor, ...]:
        """(B, T, D) → M tensors of the same shape. ``state`` is advanced to the last token of ``x_BTD``.

        The token before the first one of a document is zero.
        """
        change_BTD = x_BTD - _earlier(x_BTD, context, state)
        return tuple(x_BTD - change_BTD * (1 - share_D).to(x_BTD.dtype) for share_D in self.shares)

    def _draw(self, shares_MD: Tensor, _: Generator | None) -> None:
        channels = shares_MD.shape[1]
        places_D = torch.arange(channels, device=shares_MD.device, dtype=shares_MD.dtype) / channels
        for share_D, ramp in zip(shares_MD, self.ramps, strict=True):
            share_D.copy_(places_D**ramp.exponent + ramp.offset)


def _earlier(x_BTD: Tensor, context: Context, state: ShiftState | None) -> Tensor:
    """The previous token of each token; zeros at the beginning of a document."""
    if state is None:
        earlier_BTD = functional.pad(x_BTD[:, :-1], (0, 0, 1, 0))
    else:
        before_B1D = continued(state.inputs_BJC, context).to(x_BTD.dtype)
        earlier_BTD = torch.cat((before_B1D, x_BTD[:, :-1]), dim=1)
        state.inputs_BJC = x_BTD[:, -1:].to(state.inputs_BJC.dtype)
    documents_BT = context.documents_BT
    if documents_BT is None:
        return earlier_BTD
    begins_BT = functional.pad(documents_BT[:, 1:] != documents_BT[:, :-1], (1, 0))
    return earlier_BTD.masked_fill(begins_BT[:, :, None], 0)
