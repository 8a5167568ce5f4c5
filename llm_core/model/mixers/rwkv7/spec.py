"""The time mixing of RWKV-7 (Peng et al., 2025): its settings, checks and costs."""

from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field

from llm_core.experiment.component import divisor_near, with_width
from llm_core.experiment.costs import Cost
from llm_core.experiment.layers import LayerSpec, MixerSpec, Width
from llm_core.registry import load_object
from llm_core.runtime_only import runtime_only

if TYPE_CHECKING:
    from llm_core.experiment.model import ModelSpec


class Rwkv7(MixerSpec):
    """Each head has a matrix as its state, which a generalised delta rule updates with every token. The projections
    never have biases."""

    kind: Literal["rwkv7"] = "rwkv7"

    head_dim: Width | None = None
    """Channels per head, and rows and columns of its state; by default 64, or ``d_model`` if that is less."""
    decay_rank: Width | None = with_width(default=None)
    """Rank of the map to the decay; by default about 1.8 · sqrt(d_model), as published."""
    rate_rank: Width | None = with_width(default=None)
    """Rank of the map to the in-context learning rate; by default about 1.8 · sqrt(d_model)."""
    value_rank: Width | None = with_width(default=None)
    """Rank of the map to the share of the first layer's values; by default about 1.3 · sqrt(d_model)."""
    gate_rank: Width | None = with_width(default=None)
    """Rank of the map to the output gate; by default about 0.6 · d_model ^ 0.8."""
    value_residual: bool = True
    """Whether values are mixed with those of the first layer with this mixer. That layer has only its own."""
    chunk: Annotated[int, Field(ge=1, le=64)] = 32
    """Tokens per chunk of the recurrence. It changes results only by rounding."""

    def resolved(self, d_model: int) -> "Rwkv7":
        """See ``MixerSpec``."""
        head_dim = min(64, d_model) if self.head_dim is None else self.head_dim
        if d_model % head_dim:
            raise ValueError(f"d_model {d_model} is not a multiple of head_dim {head_dim}")
        ranks = {
            "decay_rank": 1.8 * d_model**0.5,
            "rate_rank": 1.8 * d_model**0.5,
            "value_rank": 1.3 * d_model**0.5,
            "gate_rank": 0.6 * d_model**0.8,
        }
        missing = {name: max(32, 32 * round(rank / 32)) for name, rank in ranks.items() if getattr(self, name) is None}
        return self.model_copy(update={"head_dim": head_dim, **missing})

    def narrowed(self, before: int, after: int) -> Self:
        """See ``Component``. Heads keep their width where it divides the model's."""
        head_dim = divisor_near(after, self.head_dim or min(64, before))
        return super().narrowed(before, after).model_copy(update={"head_dim": head_dim})

    def sizes(self) -> tuple[int, int, int, int, int]:
        """Channels per head, and the ranks of decay, rate, values and gate, if resolved."""
        found = self.head_dim, self.decay_rank, self.rate_rank, self.value_rank, self.gate_rank
        return tuple(size for size in found if size is not None)  # type: ignore[return-value]

    def wants_kv(self) -> bool:
        """See ``MixerSpec``."""
        return self.value_residual

    def has_kv_for(self, other: MixerSpec) -> bool:
        """See ``MixerSpec``."""
        return isinstance(other, Rwkv7) and not self.value_residual

    def on_its_own(self) -> "Rwkv7":
        """See ``MixerSpec``."""
        return self.model_copy(update={"value_residual": False})

    def first_of_its_kind(self) -> "Rwkv7":
        """See ``MixerSpec``."""
        return self.on_its_own()

    def module(self, model: "ModelSpec", layer: LayerSpec) -> Any:
        """See ``MixerSpec``."""
        return load_object("llm_core.model.mixers.rwkv7.module:Rwkv7")(self, model, layer)

    @runtime_only("a formula, held to the module by a test")
    def cost(self, model: "ModelSpec", layer: LayerSpec, length: int) -> Cost:
        """A token sees its chunk, and reads, corrects and writes the state. A triangular system of L unknowns counts as
        L² FLOPs per right-hand side."""
        del layer
        d, chunk = model.d_model, min(self.chunk, length)
        head_dim, decay, rate, value, gate = self.sizes()
        ranks = decay + rate + gate + self.value_residual * value
        maps = 7 + self.value_residual
        in_chunks = 35 * d + 2 * d * head_dim // chunk + 5 * d // head_dim * chunk
        return Cost(
            matmul_parameters=4 * d * d + 2 * d * ranks,
            # Shares of the token shift; two factors of the key, bonus, the norm's weight and bias; biases of the maps.
            other_parameters=6 * d + 5 * d + (2 + self.value_residual) * d,
            mixing_flops=16 * chunk * d + 8 * d * head_dim,
            state=d,
            state_fp32=d * head_dim,
            # The inputs and outputs of the products, and the results of the gates.
            saved=(9 + 3 * self.value_residual) * d + ranks,
            # The inputs and intermediate results of the recurrence, the states of chunks (in the loop, and stacked),
            # and the weights between tokens; the last chunk is padded.
            saved_fp32=in_chunks * (-(-length // chunk) * chunk) // length,
            matmul_outputs=maps * d + ranks,
        )

    def facts(self) -> dict[str, Any]:
        """See ``MixerSpec``."""
        return self.model_dump(exclude={"chunk"})

    @runtime_only("told to people")
    def told(self, d_model: int) -> str:
        """See ``MixerSpec``."""
        head_dim = self.sizes()[0]
        return f"{d_model // head_dim} of {head_dim} × {head_dim}"
