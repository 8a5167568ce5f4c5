"""Multi-head latent attention (DeepSeek-AI, 2024): its settings, checks and costs."""

from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field

from llm_core.experiment.component import with_width
from llm_core.experiment.costs import Cost
from llm_core.experiment.layers import LayerSpec, Width
from llm_core.model.mixers.attending import AttendingSpec
from llm_core.registry import load_object
from llm_core.runtime_only import runtime_only

if TYPE_CHECKING:
    from llm_core.experiment.model import ModelSpec


class LatentAttention(AttendingSpec):
    """Attention in which one latent vector contains the keys and values of all heads."""

    kind: Literal["mla"] = "mla"

    kv_rank: Width = with_width()
    """Width of the latent vector of keys and values, which the cache stores."""
    q_rank: Width | None = with_width(default=None)
    """Width of the latent vector of queries; null: queries come directly from the residual stream."""
    nope_dim: Width
    """Channels of a head's query and key without position."""
    rope_dim: Annotated[int, Field(ge=2, multiple_of=2)]
    """Rotated channels of a head's query, and of the one shared key."""
    value_dim: Width
    """Channels of a head's value."""

    def resolved(self, d_model: int) -> "LatentAttention":
        """See ``MixerSpec``."""
        del d_model
        if self.position.biases:
            raise ValueError(f"mla supports positions that rotate keys, and nope, but not {self.position.kind!r}")
        self.position.check(self.rope_dim)
        return self

    def narrowed(self, before: int, after: int) -> Self:
        """See ``Component``."""
        heads = max(1, round(self.n_heads * after / before))
        return super().narrowed(before, after).model_copy(update={"n_heads": heads})

    def key_heads(self) -> int:
        """See ``AttendingSpec``."""
        return self.n_heads

    def head_widths(self) -> tuple[int, int]:
        """See ``AttendingSpec``."""
        return self.nope_dim + self.rope_dim, self.value_dim

    def rotated_channels(self) -> int:
        """See ``AttendingSpec``."""
        return self.rope_dim

    def module(self, model: "ModelSpec", layer: LayerSpec) -> Any:
        """See ``MixerSpec``."""
        return load_object("llm_core.model.mixers.mla.module:LatentAttention")(self, model, layer)

    @runtime_only("a formula, held to the module by a test")
    def cost(self, model: "ModelSpec", layer: LayerSpec, length: int) -> Cost:
        """As in training, where the keys and values of all heads are computed."""
        d, q_rank, key_dim = model.d_model, self.q_rank or 0, self.nope_dim + self.rope_dim
        queries, values = self.n_heads * key_dim, self.n_heads * self.value_dim
        expanded, narrow = self.n_heads * self.nope_dim + values, self.kv_rank + self.rope_dim
        norms = [layer.norm.parameters(rank, model.bias) for rank in (q_rank, self.kv_rank)]
        # Attention has queries, keys and values of one width.
        wide = self.n_heads * max(key_dim, self.value_dim)
        return Cost(
            matmul_parameters=d * q_rank + (q_rank or d) * queries + d * narrow + self.kv_rank * expanded + values * d,
            other_parameters=sum(norms) + (model.bias and q_rank + narrow + d),
            mixing_flops=2 * (queries + values) * self.seen(length),
            cache_per_token=narrow if self.window is None else 0,
            state=0 if self.window is None else narrow * (self.window - 1),
            # Its input, latents before and after their norms, the shared key, attention's inputs and result, and the
            # result in the other layout.
            saved=d + 2 * q_rank + self.kv_rank + narrow + 4 * wide + values,
            matmul_outputs=q_rank + queries + narrow + expanded + wide + d,
        )

    def facts(self) -> dict[str, Any]:
        """See ``MixerSpec``."""
        scale = self.scale or (self.nope_dim + self.rope_dim) ** -0.5
        return {
            **self.model_dump(exclude={"dropout", "position"}),
            "scale": scale,
            **self.position.facts(self.rope_dim),
        }

    @runtime_only("told to people")
    def told(self, d_model: int) -> str:
        """See ``MixerSpec``."""
        del d_model
        return f"{self.n_heads} from {self.kv_rank}"
