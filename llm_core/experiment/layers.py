"""The sections of a model that ideas with settings of their own have, and one layer with everything resolved."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from llm_core.experiment.base import Spec, one_of
from llm_core.registries import FEED_FORWARDS, MIXERS, NORMS, POSITIONS

Width = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0)]
DropoutShare = Annotated[float, Field(ge=0, lt=1)]
NormPlacement = Literal["pre", "post", "sandwich", "reordered"]


class RopeScaling(Spec):
    """How RoPE's angles shrink, so that a model reads longer texts than it was trained on."""

    kind: Literal["linear", "ntk", "llama3", "yarn"]
    """``linear``: positions divided by ``factor`` (Chen et al., 2023). ``ntk``: a larger base instead (bloc97, 2023).
    ``llama3``: slow channels divided, fast ones left (Llama team, 2024). ``yarn``: the same with a ramp over rotations,
    and a temperature on the scores (Peng et al., 2023)."""
    factor: Annotated[float, Field(ge=1)]
    original_length: Width
    """Tokens of a sequence before the extension."""
    low_frequency: Positive = 1.0
    """``llama3``, ``yarn``: channels that turn fewer times than this within ``original_length`` are divided in full."""
    high_frequency: Positive = 4.0
    """``llama3``, ``yarn``: channels that turn more often are left (YaRN's paper has 32)."""

    @model_validator(mode="after")
    def _ordered(self) -> "RopeScaling":
        if self.high_frequency <= self.low_frequency:
            raise ValueError(f"high_frequency {self.high_frequency} must be above low_frequency {self.low_frequency}")
        return self


class MLASpec(Spec):
    """Multi-head latent attention (DeepSeek-AI, 2024): keys and values of all heads from one narrow vector."""

    kv_rank: Width
    """Width of the vector that keys and values are made from, and that the cache holds."""
    q_rank: Width | None = None
    """Width of the same for queries; None: queries straight from the residual stream."""
    nope_dim: Width
    """Channels of a head's query and key without position."""
    rope_dim: Annotated[int, Field(ge=2, multiple_of=2)]
    """Channels of a head's query, and of the one shared key, that RoPE turns."""
    value_dim: Width
    """Channels of a head's value."""


class LIVSpec(Spec):
    """Gated short convolution, the linear input-varying operator of LFM2 (Liquid AI, 2025)."""

    kernel: Annotated[int, Field(ge=2)] = 3
    """Tokens that a channel sees, its own included."""


class Mamba2Spec(Spec):
    """State-space duality (Dao and Gu, 2024)."""

    state: Width = 64
    """Numbers of state for every channel."""
    head_dim: Width = 64
    expand: Width = 2
    """Inner channels for every channel of the model."""
    groups: Width = 1
    """Heads of a group share what writes into and reads from their states."""
    kernel: Annotated[int, Field(ge=2)] = 4
    """Taps of the short convolution before the scan."""
    chunk: Width = 64
    """Tokens that the scan does at once by matrix products; changes no result but for rounding."""


class MoESpec(Spec):
    """Mixture of experts: a router sends every token to ``top_k`` of ``experts`` SwiGLUs. No token is dropped."""

    experts: Annotated[int, Field(ge=2)]
    top_k: Width
    d_ff: Width
    """Hidden width of one expert."""
    shared: Annotated[int, Field(ge=0)] = 0
    """Experts' widths that every token passes, beside the chosen ones."""
    score: Literal["softmax", "sigmoid"] = "softmax"
    normalise: bool = True
    """Whether the weights of a token's experts are scaled to sum to 1."""
    scale: Positive = 1.0
    """What the weights are multiplied by after that."""
    balance_loss: Annotated[float, Field(ge=0)] = 0.01
    """Weight of the load-balancing loss (Fedus et al., 2021). It may be 0 without ``bias_rate`` too: so it is in
    some models of others."""
    bias_rate: Annotated[float, Field(ge=0)] = 0.0
    """Step of the selection bias that balances without a loss (Wang et al., 2024); 0: there is none."""

    @model_validator(mode="after")
    def _fits(self) -> "MoESpec":
        if self.top_k > self.experts:
            raise ValueError(f"top_k {self.top_k} is more than experts {self.experts}")
        return self


class MultiTokenSpec(Spec):
    """Multi-token prediction (DeepSeek-AI, 2024): further modules predict the tokens after the next one."""

    depth: Width = 1
    """How many tokens after the next one."""
    weight: Annotated[float, Field(gt=0)] = 0.3
    """What the mean of their losses counts beside the main loss."""


class LayerSpec(Spec):
    """One layer: what ``pattern`` may change of it, with every default filled in."""

    mixer: Annotated[str, one_of(MIXERS)]
    n_heads: Width | None
    n_kv_heads: Width | None
    head_dim: Width | None
    position: Annotated[str, one_of(POSITIONS)]
    rope_theta: Positive
    rope_scaling: RopeScaling | None
    window: Width | None
    """A token sees itself and the ``window`` − 1 tokens before it; None: all before it."""
    share_kv: bool
    """Attention with the keys and values of the last layer before that has the same heads, window and position."""
    feed_forward: Annotated[str, one_of(FEED_FORWARDS)] | None
    d_ff: Width | None
    norm: Annotated[str, one_of(NORMS)]
    norm_placement: NormPlacement
    dropout: DropoutShare
    index: Annotated[int, Field(ge=0)]
    kv_from: int | None = None
    """The index of the layer whose keys and values this one attends to; None: its own."""

    @property
    def heads(self) -> tuple[int, int, int]:
        """Query heads, key/value heads, and channels of a head; 0 for a layer that does not attend."""
        return self.n_heads or 0, self.n_kv_heads or 0, self.head_dim or 0

    @property
    def width(self) -> int:
        """Hidden channels of a dense feed-forward; 0 for a layer without one."""
        return self.d_ff or 0
