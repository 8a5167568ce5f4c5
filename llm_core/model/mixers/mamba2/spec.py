"""Mamba-2 (Dao and Gu, 2024): its settings, checks and costs."""

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from llm_core.experiment.costs import Cost
from llm_core.experiment.layers import LayerSpec, MixerSpec, Width
from llm_core.registry import load_object
from llm_core.runtime_only import runtime_only

if TYPE_CHECKING:
    from llm_core.experiment.model import ModelSpec


class Mamba2(MixerSpec):
    """State-space duality: every channel has a state, which decays by one scalar per head."""

    kind: Literal["mamba2"] = "mamba2"

    state: Width = 64
    """Size of the state of a channel."""
    head_dim: Width = 64
    """Channels per head."""
    expand: Width = 2
    """Inner channels per channel of the model."""
    groups: Width = 1
    """Groups of heads. The heads of a group share B and C, which write to and read from their states."""
    kernel: Annotated[int, Field(ge=2)] = 4
    """Taps of the short convolution before the scan."""
    chunk: Width = 64
    """Tokens per chunk of the scan. It changes results only by rounding."""

    def resolved(self, d_model: int) -> "Mamba2":
        """See ``MixerSpec``."""
        inner = self.expand * d_model
        if inner % self.head_dim:
            raise ValueError(f"expand · d_model = {inner} is not a multiple of head_dim {self.head_dim}")
        if self.head_count(d_model) % self.groups:
            raise ValueError(f"its {self.head_count(d_model)} heads are not a multiple of groups {self.groups}")
        return self

    def head_count(self, d_model: int) -> int:
        """The number of heads."""
        return self.expand * d_model // self.head_dim

    def module(self, model: "ModelSpec", layer: LayerSpec) -> Any:
        """See ``MixerSpec``."""
        return load_object("llm_core.model.mixers.mamba2.module:Mamba2")(self, model, layer)

    @runtime_only("a formula, held to the module by a test")
    def cost(self, model: "ModelSpec", layer: LayerSpec, length: int) -> Cost:
        """A token is compared with its chunk, and writes to and reads from the state."""
        del layer
        d, inner, both = model.d_model, self.expand * model.d_model, self.groups * self.state
        heads, convolved, chunk = self.head_count(d), inner + 2 * both, min(self.chunk, length)
        projected = inner + convolved + heads
        return Cost(
            matmul_parameters=d * projected + inner * d,
            other_parameters=convolved * (self.kernel + 1) + 3 * heads + inner + (model.bias and projected + d),
            mixing_flops=2 * chunk * (both + inner) + 4 * inner * self.state,
            state=convolved * (self.kernel - 1),
            state_fp32=inner * self.state,
            # Its input, all projections, the results of convolution and silu, inner channels in the scan and the norm,
            # the states of chunks, and the weights between the tokens of a chunk.
            saved=d + projected + 2 * convolved + 8 * inner + inner * self.state // chunk + heads * chunk,
            # The input of the norm, states and decays.
            saved_fp32=inner + inner * self.state // chunk + heads * chunk,
            matmul_outputs=projected + d,
        )

    def facts(self) -> dict[str, Any]:
        """See ``MixerSpec``."""
        return self.model_dump(exclude={"chunk"})

    @runtime_only("told to people")
    def told(self, d_model: int) -> str:
        """See ``MixerSpec``."""
        return f"{self.head_count(d_model)} of {self.head_dim} × {self.state}"
