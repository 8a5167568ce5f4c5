"""Mamba-2: a state-space model whose state decays by one scalar per head (Dao and Gu, 2024)."""

import math
from typing import ClassVar

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from llm_core.experiment.layers import LayerSpec
from llm_core.experiment.model import ModelSpec
from llm_core.model.context import Context
from llm_core.model.convolution import CausalConvolution, ConvolutionState, continued
from llm_core.model.fused import FusedLinear
from llm_core.model.init import Draws, ones
from llm_core.model.mixers.mamba2.spec import Mamba2 as Mamba2Spec
from llm_core.model.scan import Inputs, scan
from llm_core.model.state import Room


class Mamba2State(ConvolutionState):
    """The last inputs of the convolution, and the state of the scan in fp32: bf16 would lose small contributions."""

    def __init__(self, room: Room, kernel: int, channels: int, scan: tuple[int, int, int]) -> None:
        super().__init__(room, kernel, channels)
        self.scan_BHPN = room.zeros(*scan, dtype=torch.float32)


DECAY_RATES = 1.0, 16.0
"""The initial range of −A."""

TIME_STEPS = 0.001, 0.1
"""The initial range of dt, before tokens change it."""


def draw_decay(A_log: Tensor, generator: Generator | None) -> None:
    """−A uniform in ``DECAY_RATES``."""
    A_log.uniform_(*DECAY_RATES, generator=generator).log_()


def draw_step(dt_bias: Tensor, generator: Generator | None) -> None:
    """The softplus of the bias log-uniform in ``TIME_STEPS``."""
    low, high = (math.log(step) for step in TIME_STEPS)
    dt_bias.uniform_(low, high, generator=generator).exp_()
    dt_bias.add_(torch.log(-torch.expm1(-dt_bias)))  # the inverse of softplus


class Mamba2(nn.Module):
    """output(norm(scan(silu(convolution(x, B, C)), dt) · silu(gate))), where gate, x, B, C and dt are projections.

    The names of parameters and the order of rows are those of the published models: the gate z, then x, B, C, then dt.
    Dimensions are those of ``llm_core.model.scan``; I inner channels (H · P), M channels of B or C (G · N).
    """

    residual_writers = ("output.weight",)
    draws: ClassVar[Draws] = {"A_log": draw_decay, "dt_bias": draw_step, "D": ones}

    def __init__(self, spec: Mamba2Spec, model: ModelSpec, layer: LayerSpec) -> None:
        super().__init__()
        inner = spec.expand * model.d_model
        heads, both = spec.head_count(model.d_model), spec.groups * spec.state
        self.index, self.kernel, self.chunk = layer.index, spec.kernel, spec.chunk
        self.scan = heads, spec.head_dim, spec.state
        self.groups = spec.groups
        self.projected = inner, inner + 2 * both, heads
        self.convolved = inner, both, both
        self.input = FusedLinear(model.d_model, (inner, *self.convolved, heads), model.bias)
        self.convolution = CausalConvolution(inner + 2 * both, spec.kernel, bias=True)
        self.dt_bias = nn.Parameter(torch.empty(heads))
        self.A_log = nn.Parameter(torch.empty(heads))
        self.D = nn.Parameter(torch.empty(heads))
        self.norm = GatedNorm(inner, spec.groups, layer.norm.eps)
        self.output = nn.Linear(inner, model.d_model, bias=model.bias)

    def forward(self, x_BTD: Tensor, _kv: None, context: Context) -> tuple[Tensor, None]:
        """(B, T, D) → (B, T, D), without keys and values for later layers."""
        B, T, _ = x_BTD.shape
        H, P, N = self.scan
        state = context.layer_state(self.index)
        gate_BTI, xBC_BTC, dt_BTH = self.input(x_BTD).split(self.projected, dim=-1)
        xBC_BTC = functional.silu(self.convolution(xBC_BTC, context, state))
        x_BTI, B_BTM, C_BTM = xBC_BTC.split(self.convolved, dim=-1)
        x_BTHP = x_BTI.view(B, T, H, P)
        B_BTGN, C_BTGN = (y_BTM.view(B, T, self.groups, N) for y_BTM in (B_BTM, C_BTM))
        dt_BTH = functional.softplus(dt_BTH.float() + self.dt_bias.float())
        A_H = -self.A_log.float().exp()
        before_BHPN = None if state is None else continued(state.scan_BHPN, context)
        inputs = Inputs(x_BTHP, dt_BTH, A_H, B_BTGN, C_BTGN, self.D)
        y_BTHP, last_BHPN = scan(inputs, chunk=self.chunk, document_ids_BT=context.documents_BT, state_BHPN=before_BHPN)
        if state is not None:
            state.scan_BHPN = last_BHPN
        return self.output(self.norm(y_BTHP.flatten(2), gate_BTI)), None

    def new_state(self, room: Room) -> Mamba2State:
        """The states of convolution and scan. Their size is constant."""
        return Mamba2State(room, self.kernel, sum(self.convolved), self.scan)


class GatedNorm(nn.Module):
    """RMS norm of x · silu(gate) within each group of channels, times a learned weight."""

    def __init__(self, dim: int, groups: int, eps: float) -> None:
        super().__init__()
        self.groups, self.eps = groups, eps
        self.weight = nn.Parameter(torch.empty(dim))

    def forward(self, x_BTI: Tensor, gate_BTI: Tensor) -> Tensor:
        """(B, T, I) → (B, T, I)."""
        x_BTI = x_BTI * functional.silu(gate_BTI)
        grouped_BTGI = x_BTI.unflatten(-1, (self.groups, -1))
        with torch.autocast(x_BTI.device.type, enabled=False):  # see ``llm_core.model.norms.module``
            normed_BTGI = functional.rms_norm(grouped_BTGI, grouped_BTGI.shape[-1:], None, self.eps)
        return normed_BTGI.flatten(-2) * self.weight.to(x_BTI.dtype)
