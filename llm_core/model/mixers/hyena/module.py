"""Hyena: long convolutions with implicit filters, alternating with gates (Poli et al., 2023)."""

import math
from collections.abc import Callable, Sequence
from copy import copy

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from llm_core.experiment.layers import LayerSpec
from llm_core.experiment.model import ModelSpec
from llm_core.model.context import Context
from llm_core.model.convolution import CausalConvolution, ConvolutionState
from llm_core.model.fused import FusedLinear
from llm_core.model.init import Draws
from llm_core.model.mixers.hyena.convolution import long_convolution, numbered_runs
from llm_core.model.mixers.hyena.spec import Hyena as HyenaSpec
from llm_core.model.state import Part, Room, aligned


class HyenaState(ConvolutionState):
    """The last inputs of the short convolution, the inputs of the long ones for up to L tokens, and their taps.

    The first pass computes the taps. Before it, the weights may be sharded (FSDP2). F: the channels of all long
    filters.
    """

    def __init__(self, room: Room, kernel: int, channels: int, gated: int) -> None:
        super().__init__(room, kernel, channels)
        self.gated_BLF = torch.empty((room.batch_size, room.max_length, gated), device=room.device, dtype=room.dtype)
        self.taps_LF: Tensor | None = None

    def gathered(self, parts: Sequence[Part], length: int, max_length: int) -> "HyenaState":
        """See ``llm_core.model.gather``."""
        new = copy(self)
        new.inputs_BJC = torch.cat([part.state.inputs_BJC[part.rows] for part in parts])
        gated = [(part.state.gated_BLF[part.rows], part.length) for part in parts]
        new.gated_BLF = aligned(gated, length, max_length, axis=1)
        return new

    def taps(self, filters: "Filters") -> Tensor:
        """(L or more, F), computed once."""
        length = self.gated_BLF.shape[1]
        if self.taps_LF is None or len(self.taps_LF) < length:
            self.taps_LF = filters(length).to(self.gated_BLF.dtype)
        return self.taps_LF


class Hyena(nn.Module):
    """output(gate · z), where z is initially the values, and then convolution(gate · z) once for every long filter.

    Values and gates are projections of the input, followed by a short convolution. The rows of the projection are those
    of the values, then of the gates in the order of their use.
    """

    residual_writers = ("output.weight",)

    def __init__(self, spec: HyenaSpec, model: ModelSpec, layer: LayerSpec) -> None:
        super().__init__()
        self.index, self.width, self.kernel = layer.index, model.d_model, spec.kernel
        self.input = FusedLinear(model.d_model, (model.d_model,) * (spec.order + 1), model.bias)
        self.convolution = CausalConvolution(self.input.out_features, spec.kernel, model.bias)
        self.filters = Filters(spec, model.d_model)
        self.output = nn.Linear(model.d_model, model.d_model, bias=model.bias)

    def forward(self, x_BTD: Tensor, _kv: None, context: Context) -> tuple[Tensor, None]:
        """(B, T, D) → (B, T, D), without keys and values for later layers."""
        state: HyenaState | None = context.layer_state(self.index)
        runs_BS = None if context.documents_BS is None else numbered_runs(context.documents_BS)
        z_BTD, *gates_BTD = self.convolution(self.input(x_BTD), context, state).split(self.width, dim=-1)
        taps_LF = self.filters(context.length) if state is None else state.taps(self.filters)
        for number, taps_LD in enumerate(taps_LF.split(self.width, dim=-1)):
            z_BTD = z_BTD * gates_BTD[number]
            if state is None:
                z_BTD = long_convolution(z_BTD, taps_LD, runs_BS)
            else:
                channels = slice(number * self.width, (number + 1) * self.width)
                z_BTD = continued_convolution(z_BTD, taps_LD, runs_BS, state.gated_BLF[..., channels], context.start)
        return self.output(z_BTD * gates_BTD[-1]), None

    def new_state(self, room: Room) -> HyenaState:
        """The state, which grows with every token up to ``max_length``."""
        return HyenaState(room, self.kernel, self.input.out_features, len(self.filters.taps))


def continued_convolution(
    x_BTC: Tensor, taps_LC: Tensor, runs_BS: Tensor | None, before_BLC: Tensor, start: int
) -> Tensor:
    """``long_convolution`` of T new tokens, the last of S. ``before_BLC`` contains the first ``start`` tokens; the new
    ones are stored in it.

    Raises ``ValueError`` for more than L tokens.
    """
    T = x_BTC.shape[1]
    end = start + T
    if end > len(taps_LC):
        raise ValueError(f"the state holds {len(taps_LC)} tokens; {end} are needed")
    before_BLC[:, start:end] = x_BTC
    x_BSC, taps_SC = before_BLC[:, :end], taps_LC[:end].float()
    if T > 1:
        return long_convolution(x_BSC, taps_SC, runs_BS)[:, start:]
    seen_BSC = x_BSC * taps_SC.flip(0)
    if runs_BS is not None:
        seen_BSC = seen_BSC * (runs_BS == runs_BS[:, -1:])[..., None]
    return seen_BSC.sum(1, keepdim=True).to(x_BTC.dtype)


class Filters(nn.Module):
    """The taps of all long filters, from a network with sine activations (Sitzmann et al., 2020), times a window.

    The network is fp32 in every precision. Dimensions: K bands, W the encoding of a lag and hidden channels, F channels
    of all filters.
    """

    def __init__(self, spec: HyenaSpec, width: int) -> None:
        super().__init__()
        self.spec = spec
        inputs = [spec.encoding(), *[spec.filter_width] * (spec.filter_layers - 1)]
        self.layers = nn.ModuleList(Affine(number, spec.filter_width) for number in inputs)
        channels = (spec.order - 1) * width
        self.frequency = nn.Parameter(torch.empty(spec.filter_width))
        self.taps = nn.Parameter(torch.empty(channels, spec.filter_width))
        self.skip = nn.Parameter(torch.empty(channels))
        self.width = width
        self.draws: Draws = {"frequency": self._draw_frequency, "taps": self._draw_taps, "skip": draw_skip}

    def forward(self, lags: int) -> Tensor:
        """(L, F), fp32: the taps of lags 0 to L − 1. The taps of lag 0 include the skip connection.

        Raises ``ValueError`` for more lags than ``max_length``.
        """
        if lags > self.spec.max_length:
            raise ValueError(
                f"{lags} tokens are needed, and the model's filters are for {self.spec.max_length} at most "
                "(mixer.max_length): ask for fewer"
            )
        device = self.taps.device
        with torch.autocast(device.type, enabled=False):
            lag_L1 = torch.arange(lags, device=device, dtype=torch.float32)[:, None] / self.spec.max_length
            turns_LK = 2 * math.pi * lag_L1 * torch.arange(1, self.spec.bands + 1, device=device)
            x_LW = torch.cat((lag_L1, turns_LK.sin(), turns_LK.cos()), dim=-1)
            for layer in self.layers:
                x_LW = torch.sin(self.frequency.float() * layer(x_LW))
            window_LF = torch.exp(-lag_L1 * self._rates(device)) + self.spec.floor
            taps_LF = functional.linear(x_LW, self.taps.float()) * window_LF
            return torch.cat((taps_LF[:1] + self.skip.float(), taps_LF[1:]))

    def _rates(self, device: torch.device) -> Tensor:
        """(F,): the decay rate of each channel's window over ``max_length``, from slow to fast within every filter."""
        slow, fast = (math.log(100) / share for share in (self.spec.slow_decay, self.spec.fast_decay))
        rates_D = torch.linspace(slow, fast, self.width, device=device)
        return rates_D.repeat(self.spec.order - 1)

    def _draw_frequency(self, frequency_W: Tensor, _: Generator | None) -> None:
        frequency_W.fill_(self.spec.frequency)

    def _draw_taps(self, taps_FW: Tensor, generator: Generator | None) -> None:
        """The squares of a filter's taps sum to about 1, which roughly keeps the scale of a channel."""
        rates_F, floor = self._rates(taps_FW.device), self.spec.floor
        squares_F = (1 - torch.exp(-2 * rates_F)) / (2 * rates_F) + floor**2
        squares_F += 2 * floor * (1 - torch.exp(-rates_F)) / rates_F
        energy_F = squares_F * self.spec.max_length * taps_FW.shape[1] / 2  # the mean square of a sine is a half
        taps_FW.normal_(generator=generator).mul_(energy_F.rsqrt()[:, None])


def draw_skip(skip_F: Tensor, generator: Generator | None) -> None:
    """Normal, mean 0, standard deviation 1."""
    skip_F.normal_(generator=generator)


class Affine(nn.Module):
    """A product and a bias, in fp32. It is not an ``nn.Linear``, since it does not multiply tokens: optimisers of
    matrices and weight decay skip it."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs))
        self.bias = nn.Parameter(torch.empty(outputs))
        self.draws: Draws = {"weight": uniform(inputs**-0.5), "bias": uniform(inputs**-0.5)}

    def forward(self, x: Tensor) -> Tensor:
        """(…, inputs) → (…, outputs)."""
        return functional.linear(x, self.weight.float(), self.bias.float())


def uniform(bound: float) -> Callable[[Tensor, Generator | None], None]:
    """Uniform between ± ``bound``."""

    def draw(parameter: Tensor, generator: Generator | None) -> None:
        parameter.uniform_(-bound, bound, generator=generator)

    return draw
