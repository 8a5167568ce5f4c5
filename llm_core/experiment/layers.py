"""The interfaces of a model's components, and one layer with all defaults resolved."""

from abc import abstractmethod
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from llm_core.experiment.base import Spec, frozen, later
from llm_core.experiment.component import Component, KindOf
from llm_core.experiment.costs import Cost
from llm_core.registries import FEED_FORWARDS, MIXERS, NORMS
from llm_core.runtime_only import runtime_only

if TYPE_CHECKING:
    from llm_core.experiment.model import ModelSpec

Width = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0)]
DropoutShare = Annotated[float, Field(ge=0, lt=1)]
NormPlacement = Literal["pre", "post", "sandwich", "reordered"]


class NormSpec(Component):
    """Normalisation of the last dimension. A kind defines ``module`` and ``parameters``."""

    eps: Positive = 1e-5
    """Added to the variance or mean square, so that the divisor is not 0."""

    @abstractmethod
    def module(self, dim: int, bias: bool) -> Any:
        """The ``nn.Module`` from (…, ``dim``) to the same shape. ``bias``: whether the model has biases."""

    @abstractmethod
    @runtime_only("a formula, held to the module by a test")
    def parameters(self, dim: int, bias: bool) -> int:
        """How many parameters it has."""


class PositionSpec(Component):
    """How attention encodes the positions of tokens. A kind defines ``module``."""

    biases: ClassVar[bool] = False
    """Whether it adds a bias to the attention scores, one number per head, query and key."""

    def check(self, channels: int) -> None:
        """Raise ``ValueError`` when it can't rotate heads with this many ``channels``."""

    def check_stretched(self, before: "PositionSpec", trained: int, length: int) -> None:
        """Raise ``ValueError`` when it can't replace ``before`` and stretch ``trained`` tokens to ``length``."""

    @abstractmethod
    def module(self, n_heads: int, channels: int) -> Any:
        """The ``Position`` for ``n_heads`` query heads. It may rotate ``channels`` channels of each."""

    def reach(self, trained: int) -> int:
        """Tokens of the longest sequence that it supports after training on ``trained`` tokens."""
        return trained

    def facts(self, channels: int) -> dict[str, Any]:
        """The settings that decide its results."""
        del channels
        return {"position": self.kind, **self.model_dump(exclude={"kind"})}


class AbsolutePositionSpec(Component):
    """Positions that are added to the embedding. A kind has ``module``."""

    def longest(self) -> int | None:
        """Tokens of the longest sequence that it supports; None: any."""
        return None

    @runtime_only("a formula, held to the module by a test")
    def parameters(self, d_model: int) -> int:
        """How many parameters it has."""
        del d_model
        return 0

    @abstractmethod
    def module(self, d_model: int, size: float) -> Any:
        """The ``nn.Module`` from positions (…) to (…, ``d_model``). ``size``: RMS of the initial embeddings."""


class MixerSpec(Component):
    """Mixes information between tokens. A kind defines ``module`` and ``cost``."""

    attends: ClassVar[bool] = False
    """Whether it is an ``llm_core.model.mixers.attending.AttendingSpec``."""

    def resolved(self, d_model: int) -> Self:
        """The same with all defaults filled in. Raises ``ValueError`` for settings that do not fit the model."""
        del d_model
        return self

    def position_of(self) -> PositionSpec | None:
        """Its position encoding, if it has that setting. Its module then has the position's module as ``position``."""
        return None

    def wants_kv(self) -> bool:
        """Whether it uses the keys and values of an earlier layer."""
        return False

    def has_kv_for(self, other: "MixerSpec") -> bool:
        """Whether a later layer may use its keys and values."""
        del other
        return False

    def on_its_own(self) -> Self:
        """The same with its own keys and values instead of another layer's, and without a value embedding."""
        return self

    def value_width(self) -> int:
        """Channels of its value embedding, a table with one row per token of the vocabulary; 0: none.

        The decoder owns the table. The module's ``forward`` then takes the rows of the tokens, (B, T, channels), as a
        fourth argument.
        """
        return 0

    def first_of_its_kind(self) -> Self:
        """Its replacement when no earlier layer has keys and values for it. Raises ``ValueError`` if there is none."""
        raise ValueError(
            "share_kv: no layer before it has keys and values of its own with the same mixer, n_kv_heads, head_dim, "
            "window and position; the first of a kind can't share"
        )

    @abstractmethod
    def module(self, model: "ModelSpec", layer: "LayerSpec") -> Any:
        """The ``nn.Module`` of this layer (see ``llm_core.model.block``).

        ``residual_writers`` of the module: the names of its matrices whose product is added to the residual stream.
        """

    @abstractmethod
    @runtime_only("a formula, held to the module by a test")
    def cost(self, model: "ModelSpec", layer: "LayerSpec", length: int) -> Cost:
        """The costs of the module in a sequence of ``length`` tokens."""

    def longest(self) -> int | None:
        """Tokens of the longest sequence that it can read; None: any."""
        return None

    def facts(self) -> dict[str, Any]:
        """The settings that decide its results: all except those for training only."""
        return self.model_dump()

    @runtime_only("told to people")
    def told(self, d_model: int) -> str:
        """A short description of its heads."""
        del d_model
        return ""


class FeedForwardSpec(Component):
    """The part of a block after the mixer. A kind defines ``module`` and ``cost``."""

    routes: ClassVar[bool] = False
    """Whether tokens use different parts of it. Its module then has the methods of a mixture of experts that
    ``Decoder`` calls."""

    looks_back: ClassVar[bool] = False
    """Whether a token sees earlier tokens. The module's ``forward`` then also takes the ``Context``, and the module has
    ``new_state``, as a mixer has; ``Context.feed_forward_state`` returns that state."""

    @abstractmethod
    def module(self, model: "ModelSpec", layer: "LayerSpec") -> Any:
        """The ``nn.Module`` of this layer, from (B, T, ``d_model``) to the same.

        ``residual_writers`` of the module: the names of its matrices whose product is added to the residual stream.
        """

    @abstractmethod
    @runtime_only("a formula, held to the module by a test")
    def cost(self, model: "ModelSpec", layer: "LayerSpec", length: int) -> Cost:
        """The costs of the module in a sequence of ``length`` tokens."""

    @runtime_only("told to people")
    def has_own_loss(self) -> bool:
        """Whether it adds a loss that depends on how a batch is split into micro-batches."""
        return False

    @runtime_only("refuses a run before it starts")
    def check_trained(self) -> None:
        """Raise ``ValueError`` for settings that an imported model may have but training does not support."""

    @runtime_only("refuses a run before it starts")
    def half_precision_errors(self, d_model: int) -> list[str]:
        """The reasons why a GPU can't run it in half precision."""
        del d_model
        return []

    def facts(self) -> dict[str, Any]:
        """The settings that decide its results: all except those for training only."""
        return self.model_dump()

    @runtime_only("told to people")
    def told(self) -> str:
        """A short description."""
        settings = self.model_dump(exclude={"kind"}).values()
        return " ".join([self.kind, *(f"{value:,}" if isinstance(value, int) else str(value) for value in settings)])


class MultiTokenSpec(Spec):
    """Multi-token prediction (DeepSeek-AI, 2024): additional modules predict the tokens after the next one."""

    depth: Width = 1
    """How many tokens after the next one."""
    weight: Annotated[float, Field(gt=0)] = 0.3
    """The weight of the mean of their losses relative to the main loss."""


FirstAndLast = Annotated[tuple[float, float], BeforeValidator(frozen)]


class StreamScalesSpec(Spec):
    """Two learned numbers per layer: its block reads a · x + b · x0, where x is the residual stream and x0 the
    embedding after its norm (Karpathy, 2025-2026, nanochat)."""

    residual: FirstAndLast = (1.0, 1.0)
    """The initial a of the first and of the last layer, linear in between."""
    input: FirstAndLast = (0.0, 0.0)
    """The same for b."""


class NgramEmbeddingSpec(Spec):
    """Tables with a row for each hash of the last tokens, added to the embedding (Svenstrup et al., 2017; Huang et al.,
    2025). They begin as zeros."""

    rows: Width
    """Rows of each table. More rows, fewer n-grams that share one."""
    longest: Annotated[int, Field(ge=2, le=8)] = 2
    """The longest n-gram, in tokens. There is one table per length from 2 on."""

    def parameters(self, d_model: int) -> int:
        """Numbers in all tables."""
        return (self.longest - 1) * self.rows * d_model


class LayerSpec(Spec):
    """One layer: the fields that ``pattern`` may change, with all defaults filled in."""

    mixer: Annotated[MixerSpec, KindOf(MIXERS)]
    feed_forward: Annotated[FeedForwardSpec, KindOf(FEED_FORWARDS)] | None
    norm: Annotated[NormSpec, KindOf(NORMS, default="rmsnorm")]
    norm_placement: NormPlacement
    dropout: DropoutShare
    parallel: bool = later(default=False, absent=False)
    stream_scales: StreamScalesSpec | None = later(default=None, absent=None)
    index: Annotated[int, Field(ge=0)]
    kv_from: int | None = None
    """The index of the layer whose keys and values this one attends to; None: its own."""

    @model_validator(mode="after")
    def _agrees(self) -> "LayerSpec":
        if self.parallel and self.norm_placement == "post":
            raise ValueError(
                "parallel: its branches have no stream of their own to normalise; choose another norm_placement"
            )
        return self
