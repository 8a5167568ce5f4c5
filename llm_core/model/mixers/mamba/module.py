"""Mamba: a state-space model with a state per channel, whose decay depends on the token (Gu and Dao, 2023)."""

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from llm_core.experiment.layers import LayerSpec
from llm_core.experiment.model import ModelSpec
from llm_core.model.context import Context
from llm_core.model.convolution import CausalConvolution, ConvolutionState, continued
from llm_core.model.fused import FusedLinear
from llm_core.model.init import Draws, ones
from llm_core.model.mixers.mamba.scan import Inputs, selective_scan
from llm_core.model.mixers.mamba.spec import Mamba as MambaSpec
from llm_core.model.mixers.mamba2.module import draw_step
from llm_core.model.state import Room


class MambaState(ConvolutionState):
    """The last inputs of the convolution, and the state of the scan in fp32: bf16 would lose small contributions."""

    def __init__(self, room: Room, kernel: int, channels: int, state: int) -> None:
        super().__init__(room, kernel, channels)
        self.scan_BIN = room.zeros(channels, state, dtype=torch.float32)


def draw_rates(A_log: Tensor, _: Generator | None) -> None:
    """−A is 1, 2, 3, … in the state of each channel (S4D-Real: Gu et al., 2022)."""
    A_log.copy_(torch.arange(1, A_log.shape[1] + 1, device=A_log.device).log().expand_as(A_log))


class Mamba(nn.Module):
    """output(scan(silu(convolution(x))) · silu(gate)), where x and gate are projections.

    The steps dt, and B and C, which write to and read from the states, are projections of the scan's input: dt by way
    of ``dt_rank`` channels. Dimensions are those of ``llm_core.model.mixers.mamba.scan``.
    """

    residual_writers = ("output.weight",)

    def __init__(self, spec: MambaSpec, model: ModelSpec, layer: LayerSpec) -> None:
        super().__init__()
        assert spec.dt_rank is not None
        inner = spec.expand * model.d_model
        self.index, self.kernel, self.chunk = layer.index, spec.kernel, spec.chunk
        self.inner, self.state = inner, spec.state
        self.input = FusedLinear(model.d_model, (inner, inner), model.bias)
        self.convolution = CausalConvolution(inner, spec.kernel, bias=True)
        self.selected = FusedLinear(inner, (spec.dt_rank, spec.state, spec.state), bias=False)
        self.dt = nn.Linear(spec.dt_rank, inner, bias=False)
        self.dt_bias = nn.Parameter(torch.empty(inner))
        self.A_log = nn.Parameter(torch.empty(inner, spec.state))
        self.D = nn.Parameter(torch.empty(inner))
        self.output = nn.Linear(inner, model.d_model, bias=model.bias)
        self.draws: Draws = {"dt.weight": _draw_dt, "dt_bias": draw_step, "A_log": draw_rates, "D": ones}

    def forward(self, x_BTD: Tensor, _kv: None, context: Context) -> tuple[Tensor, None]:
        """(B, T, D) → (B, T, D), without keys and values for later layers."""
        state = context.layer_state(self.index)
        x_BTI, gate_BTI = self.input(x_BTD).chunk(2, dim=-1)
        x_BTI = functional.silu(self.convolution(x_BTI, context, state))
        dt_BTR, B_BTN, C_BTN = self.selected(x_BTI).split(self.selected.parts, dim=-1)
        dt_BTI = functional.softplus(self.dt(dt_BTR).float() + self.dt_bias.float())
        if state is None:
            before_BIN = dt_BTI.new_zeros(len(x_BTD), self.inner, self.state)
        else:
            before_BIN = continued(state.scan_BIN, context)
        A_IN = -self.A_log.float().exp()
        inputs = Inputs(x_BTI.float(), dt_BTI, A_IN, B_BTN.float(), C_BTN.float(), self.D.float())
        y_BTI, last_BIN = selective_scan(inputs, before_BIN, chunk=self.chunk, document_ids_BT=context.documents_BT)
        if state is not None:
            state.scan_BIN = last_BIN
        return self.output(y_BTI.to(x_BTI.dtype) * functional.silu(gate_BTI)), None

    def new_state(self, room: Room) -> MambaState:
        """The states of convolution and scan. Their size is constant."""
        return MambaState(room, self.kernel, self.inner, self.state)


def _draw_dt(weight_IR: Tensor, generator: Generator | None) -> None:
    """Uniform between ±1/sqrt(R), which keeps the scale of the R channels."""
    bound = weight_IR.shape[1] ** -0.5
    weight_IR.uniform_(-bound, bound, generator=generator)
