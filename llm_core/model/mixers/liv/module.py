"""Gated short convolution: the linear input-varying operator of LFM2 (Liquid AI, 2025)."""

from torch import Tensor, nn

from llm_core.experiment.layers import LayerSpec
from llm_core.experiment.model import ModelSpec
from llm_core.model.context import Context
from llm_core.model.convolution import CausalConvolution, ConvolutionState
from llm_core.model.fused import FusedLinear
from llm_core.model.mixers.liv.spec import ShortConvolution as ShortConvolutionSpec
from llm_core.model.state import Room


class ShortConvolution(nn.Module):
    """output(c · convolution(b · v)), where b, c and v are projections of the input.

    The gates make the convolution depend on the tokens. A token sees itself and the ``kernel`` − 1 previous ones.
    """

    residual_writers = ("output.weight",)

    def __init__(self, spec: ShortConvolutionSpec, model: ModelSpec, layer: LayerSpec) -> None:
        super().__init__()
        self.index, self.width, self.kernel = layer.index, model.d_model, spec.kernel
        # The rows of b, then c, then v.
        self.gates = FusedLinear(model.d_model, (model.d_model,) * 3, model.bias)
        self.convolution = CausalConvolution(model.d_model, self.kernel, model.bias)
        self.output = nn.Linear(model.d_model, model.d_model, bias=model.bias)

    def forward(self, x_BTD: Tensor, _kv: None, context: Context) -> tuple[Tensor, None]:
        """(B, T, D) → (B, T, D), without keys and values for later layers."""
        b_BTD, c_BTD, v_BTD = self.gates(x_BTD).chunk(3, dim=-1)
        mixed_BTD = self.convolution(b_BTD * v_BTD, context, context.layer_state(self.index))
        return self.output(c_BTD * mixed_BTD), None

    def new_state(self, room: Room) -> ConvolutionState:
        """The state of the convolution. Its size is constant."""
        return ConvolutionState(room, self.kernel, self.width)
