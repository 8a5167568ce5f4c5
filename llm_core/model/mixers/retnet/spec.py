"""Multi-scale retention, the mixer of RetNet (Sun et al., 2023, arXiv:2307.08621): its settings, checks and costs."""

from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from llm_core.experiment.component import KindOf, divisor_near
from llm_core.experiment.costs import Cost
from llm_core.experiment.layers import LayerSpec, MixerSpec, PositionSpec, Width
from llm_core.registries import POSITIONS
from llm_core.registry import load_object
from llm_core.runtime_only import runtime_only

if TYPE_CHECKING:
    from llm_core.experiment.model import ModelSpec


class Retention(MixerSpec):
    """Attention without softmax whose weights decay with the distance, so that its state has a constant size."""

    kind: Literal["retention"] = "retention"

    n_heads: Width
    """Heads. Each has d_model / n_heads channels of queries and keys (256 in the paper's models)."""
    expand: Width = 2
    """Channels of values per channel of keys."""
    position: Annotated[PositionSpec, KindOf(POSITIONS, default="rope")] = "rope"  # type: ignore[assignment]
    """The rotation of queries and keys. With ``rope`` and the decay, retention is a form of xPos (Sun et al., 2022)."""
    chunk: Width = 256
    """Tokens per chunk. Tokens of a chunk see each other directly, and earlier chunks through the state. It changes
    results only by rounding."""

    def resolved(self, d_model: int) -> "Retention":
        """See ``MixerSpec``."""
        if d_model % self.n_heads:
            raise ValueError(f"d_model {d_model} must be a multiple of n_heads {self.n_heads}")
        if self.position.biases:
            raise ValueError(f"retention supports positions that rotate keys, and nope, but not {self.position.kind!r}")
        self.position.check(d_model // self.n_heads)
        return self

    def narrowed(self, before: int, after: int) -> Self:
        """See ``Component``. Heads keep their width as nearly as the model's width and the rotation allow."""
        heads = divisor_near(after, self.n_heads * after / before, lambda heads: after // heads % 2 == 0)
        return self.model_copy(update={"n_heads": heads})

    def position_of(self) -> PositionSpec:
        """See ``MixerSpec``."""
        return self.position

    def module(self, model: "ModelSpec", layer: LayerSpec) -> Any:
        """See ``MixerSpec``."""
        return load_object("llm_core.model.mixers.retnet.module:Retention")(self, model, layer)

    @runtime_only("a formula, held to the module by a test")
    def cost(self, model: "ModelSpec", layer: LayerSpec, length: int) -> Cost:
        """A token is compared with its chunk, and writes to and reads from the state."""
        del layer
        keys, values, chunk = model.d_model, self.expand * model.d_model, min(self.chunk, length)
        projected, state = 2 * keys + 2 * values, keys * values // self.n_heads
        return Cost(
            matmul_parameters=keys * (projected + values),
            other_parameters=model.bias and projected + keys,
            mixing_flops=2 * chunk * (keys + values) + 4 * state,
            state_fp32=state,
            # Its input, all projections; queries and keys for their chunk and for the state; values in the scan, the
            # norm and the gate; the states of chunks, and the weights between the tokens of a chunk.
            saved=keys + projected + 4 * keys + 6 * values + state // chunk + self.n_heads * chunk,
            saved_fp32=self.n_heads * chunk,  # decays
            matmul_outputs=projected + keys,
        )

    def facts(self) -> dict[str, Any]:
        """See ``MixerSpec``."""
        return self.model_dump(exclude={"chunk"})

    @runtime_only("told to people")
    def told(self, d_model: int) -> str:
        """See ``MixerSpec``."""
        keys = d_model // self.n_heads
        return f"{self.n_heads} of {self.expand * keys} × {keys}"
