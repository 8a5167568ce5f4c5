"""RWKV-7 (Peng et al., 2025): the settings of its time mixing, checks and costs."""

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from llm_core.experiment.costs import Cost
from llm_core.experiment.layers import LayerSpec, MixerSpec, Width
from llm_core.registry import load_object
from llm_core.runtime_only import runtime_only

if TYPE_CHECKING:
    from llm_core.experiment.model import ModelSpec


class Rwkv7(MixerSpec):
    """A matrix of state for every head, which a generalised delta rule corrects token by token. Its products never have
    biases."""

    kind: Literal["rwkv7"] = "rwkv7"

    head_dim: Width | None = None
    """Channels of a head, and the side of its state; left out: 64, or ``d_model`` where that is less."""
    decay_rank: Width | None = None
    """Width between the two matrices that make the decay; left out: about 1.8 · sqrt(d_model), as published."""
    rate_rank: Width | None = None
    """The same of the in-context learning rate; left out: about 1.8 · sqrt(d_model)."""
    value_rank: Width | None = None
    """The same of the share of the first layer's values; left out: about 1.3 · sqrt(d_model)."""
    gate_rank: Width | None = None
    """The same of the output's gate; left out: about 0.6 · d_model ^ 0.8."""
    value_residual: bool = True
    """Whether values are blended with those of the first layer with this mixer, which has its own in any case."""
    chunk: Annotated[int, Field(ge=1, le=64)] = 32
    """Tokens that the recurrence does at once by matrix products; changes no result but for rounding."""

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

    def sizes(self) -> tuple[int, int, int, int, int]:
        """Of a resolved one: channels of a head, and the ranks of decay, rate, values and gate."""
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
        """A token is compared with its chunk, and reads, corrects and writes the state. A triangular system of L
        unknowns counts L² FLOPs per right-hand side."""
        del layer
        d, chunk = model.d_model, min(self.chunk, length)
        head_dim, decay, rate, value, gate = self.sizes()
        ranks = decay + rate + gate + self.value_residual * value
        maps = 7 + self.value_residual
        in_chunks = 35 * d + 2 * d * head_dim // chunk + 5 * d // head_dim * chunk
        return Cost(
            matmul_parameters=4 * d * d + 2 * d * ranks,
            # Shares of the shift, key's two factors, the bonus, the norm's weight and bias; biases of decay and rates.
            other_parameters=6 * d + 5 * d + (2 + self.value_residual) * d,
            mixing_flops=16 * chunk * d + 8 * d * head_dim,
            state=d,
            state_fp32=d * head_dim,
            # Inputs of products, what they yield and gates make of it.
            saved=(9 + 3 * self.value_residual) * d + ranks,
            # What the recurrence gets and makes of it, chunks' states (as they go on, and side by side), and how much
            # tokens see of each other; the last chunk is filled up.
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
