"""Softmax attention: its settings, checks and costs."""

from typing import TYPE_CHECKING, Any, Literal, Self

from llm_core.experiment.base import Spec, later
from llm_core.experiment.component import divisor_near
from llm_core.experiment.costs import Cost
from llm_core.experiment.layers import LayerSpec, MixerSpec, Positive, Width
from llm_core.model.mixers.attending import AttendingSpec
from llm_core.registry import load_object
from llm_core.runtime_only import runtime_only

if TYPE_CHECKING:
    from llm_core.experiment.model import ModelSpec


class ValueEmbedding(Spec):
    """A second embedding of the tokens, which is added to the values of this layer (ResFormer: Zhou et al., 2024).

    A gate per head of values, between 0 and ``gate_scale``, follows from the layer's input (Karpathy, 2025-2026,
    nanochat).
    """

    gate_channels: Width = 12
    """The first channels of the layer's input. The gates depend on these only."""
    gate_scale: Positive = 3.0
    """The largest gate. Gates begin at half of it."""


class Attention(AttendingSpec):
    """Multi-head, grouped-query or multi-query attention (GQA: Ainslie et al., 2023)."""

    kind: Literal["attention"] = "attention"

    n_kv_heads: Width | None = None
    """Heads of keys and values; by default ``n_heads``."""
    head_dim: Width | None = None
    """Channels per head; by default d_model / n_heads."""
    qk_norm: bool = False
    """Whether queries and keys are normalised before their positions are encoded (Dehghani et al., 2023)."""
    qk_norm_over: Literal["head", "all"] = later(default="head", absent="head")
    """``head``: each head by itself. ``all``: all heads of queries together, and all heads of keys (OLMo 2)."""
    qkv_bias: bool = later(default=False, absent=False)
    """Whether queries, keys and values have biases even if the model has none (Qwen2)."""
    qkv_clip: Positive | None = None
    """Queries, keys and values are clipped to ± this (MPT)."""
    share_kv: bool = False
    """Whether it uses the keys and values of the last earlier layer with the same heads, window and position (Brandon
    et al., 2024; MixAttention: Rajput et al., 2024)."""
    value_embedding: ValueEmbedding | None = later(default=None, absent=None)
    """A table of values per token, with its own gates; null: none."""

    def resolved(self, d_model: int) -> "Attention":
        """See ``MixerSpec``."""
        if self.head_dim is None and d_model % self.n_heads:
            raise ValueError(f"d_model {d_model} must be a multiple of n_heads {self.n_heads}, or give head_dim")
        n_kv_heads, head_dim = self.n_kv_heads or self.n_heads, self.head_dim or d_model // self.n_heads
        if self.n_heads % n_kv_heads:
            raise ValueError(f"n_heads {self.n_heads} is not a multiple of n_kv_heads {n_kv_heads}")
        if self.value_embedding is not None and self.share_kv:
            raise ValueError(
                "value_embedding: a layer with share_kv has no values of its own; set value_embedding: null there"
            )
        if self.value_embedding is not None and self.value_embedding.gate_channels > d_model:
            raise ValueError(
                f"value_embedding.gate_channels {self.value_embedding.gate_channels} is more than d_model {d_model}"
            )
        self.position.check(head_dim)
        return self.model_copy(update={"n_kv_heads": n_kv_heads, "head_dim": head_dim})

    def narrowed(self, before: int, after: int) -> Self:
        """See ``Component``. Heads keep their width as nearly as the model's width and the rotation allow."""
        wanted = self.n_heads * after / before
        if self.head_dim is None:
            heads = divisor_near(after, wanted, lambda heads: after // heads % 2 == 0)
        else:
            heads = max(1, round(wanted))
        n_kv_heads = self.n_kv_heads and divisor_near(heads, self.n_kv_heads * heads / self.n_heads)
        return self.model_copy(update={"n_heads": heads, "n_kv_heads": n_kv_heads})

    def wants_kv(self) -> bool:
        """See ``MixerSpec``."""
        return self.share_kv

    def has_kv_for(self, other: MixerSpec) -> bool:
        """See ``MixerSpec``."""
        alike = ("n_kv_heads", "head_dim", "window", "position")
        return (
            isinstance(other, Attention)
            and not self.share_kv
            and all(getattr(self, name) == getattr(other, name) for name in alike)
        )

    def on_its_own(self) -> "Attention":
        """See ``MixerSpec``."""
        return self.model_copy(update={"share_kv": False, "value_embedding": None})

    def value_width(self) -> int:
        """See ``MixerSpec``."""
        _, n_kv_heads, head_dim = self.heads()
        return 0 if self.value_embedding is None else n_kv_heads * head_dim

    def heads(self) -> tuple[int, int, int]:
        """Query heads, key/value heads, and channels per head, if resolved."""
        assert self.n_kv_heads is not None
        assert self.head_dim is not None
        return self.n_heads, self.n_kv_heads, self.head_dim

    def normalised(self, own_kv: bool) -> list[int]:
        """Channels of the norms of queries and of keys. ``own_kv``: whether the layer has keys."""
        n_heads, n_kv_heads, head_dim = self.heads()
        heads = (n_heads, n_kv_heads) if self.qk_norm_over == "all" else (1, 1)
        return [number * head_dim for number in heads[: 1 + own_kv]] if self.qk_norm else []

    def key_heads(self) -> int:
        """See ``AttendingSpec``."""
        return self.heads()[1]

    def head_widths(self) -> tuple[int, int]:
        """See ``AttendingSpec``."""
        head_dim = self.heads()[2]
        return head_dim, head_dim

    def module(self, model: "ModelSpec", layer: LayerSpec) -> Any:
        """See ``MixerSpec``."""
        return load_object("llm_core.model.mixers.attention.module:Attention")(self, model, layer)

    @runtime_only("a formula, held to the module by a test")
    def cost(self, model: "ModelSpec", layer: LayerSpec, length: int) -> Cost:
        """Scores and weighted sums count the whole window, as if it were full (see ``flops_per_token``)."""
        d, (n_heads, n_kv_heads, head_dim), own = model.d_model, self.heads(), layer.kv_from is None
        queries, kv = n_heads * head_dim, n_kv_heads * head_dim if own else 0
        gates = 0 if self.value_embedding is None else n_kv_heads
        gate_channels = 0 if self.value_embedding is None else self.value_embedding.gate_channels
        # Attention reads the values in the projection itself, unless something is added to them.
        projection = 0 if gates and not self.qk_norm else queries + 2 * kv
        return Cost(
            matmul_parameters=d * (2 * queries + 2 * kv) + gate_channels * gates,
            other_parameters=sum(layer.norm.parameters(width, model.bias) for width in self.normalised(own))
            + ((model.bias or self.qkv_bias) and queries + 2 * kv)
            + (model.bias and d),
            mixing_flops=4 * queries * self.seen(length),
            cache_per_token=2 * kv if self.window is None else 0,
            state=0 if self.window is None else 2 * kv * (self.window - 1),
            # Its input, projections, rotated queries and keys, its result in both layouts; with a value embedding, also
            # the gates' input, the gates, the token's values, and the sum.
            saved=d + projection + 3 * queries + kv + (gates and gate_channels + 2 * gates + 2 * kv),
            matmul_outputs=2 * queries + 2 * kv + d + gates,
        )

    def facts(self) -> dict[str, Any]:
        """See ``MixerSpec``."""
        scale = self.scale or self.heads()[2] ** -0.5
        return {
            **self.model_dump(exclude={"dropout", "position", "qk_norm_over"}),
            "qk_norm_over": self.qk_norm_over if self.qk_norm else None,
            "scale": scale,
            **self.position.facts(self.heads()[2]),
        }

    @runtime_only("told to people")
    def told(self, d_model: int) -> str:
        """See ``MixerSpec``."""
        del d_model
        n_heads, n_kv_heads, head_dim = self.heads()
        embedded = "" if self.value_embedding is None else " + table"
        return f"{n_heads} / {n_kv_heads} of {head_dim}{embedded}"
