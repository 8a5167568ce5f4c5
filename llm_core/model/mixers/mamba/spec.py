"""Mamba (Gu and Dao, 2023): its settings, checks and costs."""

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from llm_core.experiment.costs import Cost
from llm_core.experiment.layers import LayerSpec, MixerSpec, Width
from llm_core.registry import load_object
from llm_core.runtime_only import runtime_only

if TYPE_CHECKING:
    from llm_core.experiment.model import ModelSpec


class Mamba(MixerSpec):
    """A selective state space: each number of a channel's state decays at its own rate, which depends on the token."""

    kind: Literal["mamba"] = "mamba"

    state: Width = 16
    """Size of the state of a channel."""
    expand: Width = 2
    """Inner channels per channel of the model."""
    dt_rank: Width | None = None
    """Width of the small matrices from which the steps of all channels follow; by default d_model / 16, rounded up."""
    kernel: Annotated[int, Field(ge=2)] = 4
    """Taps of the short convolution before the scan."""
    chunk: Width = 32
    """Tokens per chunk of the scan. It changes results only by rounding."""

    def resolved(self, d_model: int) -> "Mamba":
        """See ``MixerSpec``."""
        return self.model_copy(update={"dt_rank": self.dt_rank or -(-d_model // 16)})

    def module(self, model: "ModelSpec", layer: LayerSpec) -> Any:
        """See ``MixerSpec``."""
        return load_object("llm_core.model.mixers.mamba.module:Mamba")(self, model, layer)

    @runtime_only("a formula, held to the module by a test")
    def cost(self, model: "ModelSpec", layer: LayerSpec, length: int) -> Cost:
        """Of the scan, only the products that read the states are counted: the others are not of matrices, like those
        of norms."""
        del layer
        assert self.dt_rank is not None
        d, inner, rank, chunk = model.d_model, self.expand * model.d_model, self.dt_rank, min(self.chunk, length)
        selected = rank + 2 * self.state
        return Cost(
            matmul_parameters=d * 2 * inner + inner * selected + rank * inner + inner * d,
            other_parameters=inner * (self.kernel + 1 + 1 + self.state + 1) + (model.bias and 2 * inner + d),
            mixing_flops=2 * inner * self.state,
            state=inner * (self.kernel - 1),
            state_fp32=inner * self.state,
            # Its input, both projections, the results of convolution and silu, the gate's silu, the product with it.
            saved=d + 2 * inner + 2 * inner + selected + 2 * inner,
            # What the scan reads, its result, and the state before each chunk.
            saved_fp32=3 * inner + 2 * self.state + inner * self.state // chunk,
            matmul_outputs=2 * inner + selected + inner + d,
        )

    def facts(self) -> dict[str, Any]:
        """See ``MixerSpec``."""
        return self.model_dump(exclude={"chunk"})

    @runtime_only("told to people")
    def told(self, d_model: int) -> str:
        """See ``MixerSpec``."""
        return f"{self.expand * d_model} × {self.state}"
