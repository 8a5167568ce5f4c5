"""The section about the model: settings for all layers, and a pattern of layers that differ."""

from collections.abc import Mapping
from itertools import accumulate
from typing import Annotated, Any

from pydantic import Field, ValidationError, model_validator

from llm_core.experiment.base import Spec, later, told
from llm_core.experiment.component import KindOf, over
from llm_core.experiment.initialisation import InitialisationSpec
from llm_core.experiment.layers import (
    AbsolutePositionSpec,
    DropoutShare,
    FeedForwardSpec,
    LayerSpec,
    MixerSpec,
    MultiTokenSpec,
    NgramEmbeddingSpec,
    NormPlacement,
    NormSpec,
    Positive,
    StreamScalesSpec,
    Width,
)
from llm_core.experiment.model_presets import MODELS
from llm_core.experiment.parametrization import ParametrizationSpec
from llm_core.experiment.paths import resolved
from llm_core.registries import ABSOLUTE_POSITIONS, FEED_FORWARDS, MIXERS, NORMS

CHANGEABLE = tuple(name for name in LayerSpec.model_fields if name not in ("index", "kv_from"))
"""The fields that an entry of ``pattern`` may have."""


class ModelSpec(Spec):
    """A decoder-only language model, layer by layer.

    ``preset`` (in YAML) names a model of ``llm_core.experiment.model_presets``; other fields override its fields.
    """

    d_model: Width
    """Channels of the residual stream."""
    n_layers: Annotated[int, Field(ge=1, le=1000)]
    """Blocks, each with a mixer and a feed-forward."""
    mixer: Annotated[MixerSpec, KindOf(MIXERS)]
    """Mixes information between tokens."""
    feed_forward: Annotated[FeedForwardSpec, KindOf(FEED_FORWARDS)] | None
    """The part of a block after the mixer; null: none, as in Mamba models."""
    norm: Annotated[NormSpec, KindOf(NORMS, default="rmsnorm")] = "rmsnorm"  # type: ignore[assignment]
    """The normalisation before, after or between branches."""
    norm_placement: NormPlacement = "pre"
    """``pre``: x + f(norm(x)). ``post``: norm(x + f(x)) (Vaswani et al., 2017). ``sandwich``: x + norm(f(norm(x)))
    (Gemma 2). ``reordered``: x + norm(f(x)) (OLMo 2)."""
    parallel: bool = later(default=False, absent=False)
    """Whether the feed-forward reads what the mixer reads: x + mixer(norm(x)) + feed_forward(norm(x)) (Black et al.,
    2022, GPT-NeoX). Each branch has a norm of its own."""
    absolute_position: Annotated[AbsolutePositionSpec, KindOf(ABSOLUTE_POSITIONS)] | None = None
    """Positions that are added to the embedding. Also set ``position: nope`` in the mixer, unless you want both."""
    bias: bool = False
    """Whether the projections of attention and feed-forward, and LayerNorm, have biases."""
    logit_softcap: Positive | None = None
    """Logits become c · tanh(logit / c) (Gemma 2 has 30)."""
    embedding_scale: Positive = 1.0
    """Factor of the embeddings (Gemma: sqrt(d_model))."""
    residual_scale: Positive = later(default=1.0, absent=1.0)
    """Factor of the output of each branch (Granite)."""
    logit_scale: Positive = later(default=1.0, absent=1.0)
    """Factor of the logits, before ``logit_softcap`` (Granite: 1 / logits_scaling)."""
    embedding_norm: bool = later(default=False, absent=False)
    """Whether a norm of the model's kind follows the embedding (RWKV). The initial embedding is then small, unless
    ``init.embedding_std`` is given."""
    ngram_embedding: NgramEmbeddingSpec | None = later(default=None, absent=None)
    """Tables for the last two or more tokens, added to the embedding after its norm; null: none."""
    stream_scales: StreamScalesSpec | None = later(default=None, absent=None)
    """Learned factors of the residual stream and of the embedding before each block; null: none."""
    dropout: DropoutShare = 0.0
    """Dropout rate in training, for the embedding and for the output of each branch."""
    tie_embeddings: bool = True
    """Whether the embedding and the head share one matrix."""
    document_mask: bool = False
    """No mixer passes information from one document to another."""
    init_std: Positive = 0.02
    """The scale of all initial weights, and of the constant ``sinusoidal`` positions."""
    init: InitialisationSpec = later(default=InitialisationSpec(), absent={})
    """Where initial weights differ from ``init_std``."""
    parametrization: ParametrizationSpec | None = later(default=None, absent=None)
    """How weights, multipliers and learning rates change with the shape; null: not at all."""
    multi_token: MultiTokenSpec | None = None
    # Not strict: after a "before" validator, pydantic no longer knows that a list came from JSON.
    pattern: Annotated[tuple[dict[str, Any], ...], Field(strict=False)] = ()
    """The layers of one period, which repeats over the depth. Each entry overrides the model's mixer, feed_forward,
    norm, norm_placement, dropout, parallel and stream_scales, or nothing. ``times: n`` means n such layers."""

    @model_validator(mode="before")
    @classmethod
    def _preset(cls, data: Any) -> Any:
        if not isinstance(data, Mapping) or "preset" not in data:
            return data
        name = data["preset"]
        if not isinstance(name, str) or name not in MODELS:
            raise ValueError(f"unknown preset {name!r}; known: {', '.join(sorted(MODELS))}")
        preset = MODELS[name]
        return {**preset, **{key: over(preset.get(key), value) for key, value in data.items() if key != "preset"}}

    def width_ratio(self) -> float:
        """The width as a multiple of the parametrisation's base; 1 without one."""
        return 1.0 if self.parametrization is None else self.d_model / self.parametrization.base_width

    def depth_ratio(self) -> float:
        """The depth as a multiple of the parametrisation's base; 1 without one for the depth."""
        given = self.parametrization
        return 1.0 if given is None or given.kind == "mup" else self.n_layers / given.base_layers

    def longest(self) -> int | None:
        """Tokens of the longest sequence that the model can read; None: any length."""
        bounds = [layer.mixer.longest() for layer in self.layers]
        if self.absolute_position is not None:
            bounds.append(self.absolute_position.longest())
        return min((bound for bound in bounds if bound is not None), default=None)

    def embedding_size(self) -> float:
        """The root mean square of the initial embeddings, after their norm if there is one."""
        if self.embedding_norm:
            return 1.0
        return (self.init.embedding_std or self.init_std) * self.embedding_scale

    @property
    def layers(self) -> tuple[LayerSpec, ...]:
        """All layers in order, resolved."""
        period = [
            (f"pattern[{number}]", {key: value for key, value in entry.items() if key != "times"})
            for number, entry in enumerate(self.pattern or ({},))
            for _ in range(_times(entry))
        ]
        shared = {name: getattr(self, name) for name in CHANGEABLE}
        layers: list[LayerSpec] = []
        for index in range(self.n_layers):
            place, entry = period[index % len(period)]
            changed = {name: over(shared.get(name), value) for name, value in entry.items()}
            try:
                layer = LayerSpec.model_validate({**shared, **changed, "index": index})
            except ValidationError as error:
                raise ValueError(told(error, place)) from None
            try:
                layer = layer.model_copy(update={"mixer": layer.mixer.resolved(self.d_model)})
                if layer.mixer.wants_kv():
                    source = _source(layer, layers)
                    alone = {"mixer": layer.mixer.first_of_its_kind()} if source is None else {}
                    layer = layer.model_copy(update={"kv_from": source, **alone})
            except ValueError as error:
                raise ValueError(f"layer {index}: {error}" if self.pattern else str(error)) from None
            layers.append(layer)
        return tuple(layers)

    @model_validator(mode="after")
    def _agrees(self) -> "ModelSpec":
        for number, entry in enumerate(self.pattern):
            unknown = sorted(entry.keys() - {*CHANGEABLE, "times"})
            if unknown:
                raise ValueError(
                    f"pattern[{number}]: {', '.join(unknown)}: no layer has such a field; "
                    f"known: {', '.join(CHANGEABLE)}"
                )
            times = entry.get("times", 1)
            if not isinstance(times, int) or isinstance(times, bool) or times < 1:
                raise ValueError(f"pattern[{number}]: times must be a whole number from 1 on (it is {times!r})")
        period = sum(_times(entry) for entry in self.pattern)
        if period and self.n_layers % period:
            raise ValueError(f"pattern: its {period} layers do not divide n_layers {self.n_layers}")
        if self.tie_embeddings and self.init.head_std is not None:
            raise ValueError("init.head_std: a tied head has no weights of its own; set init.embedding_std instead")
        layers = self.layers  # raises for an invalid layer
        starts = accumulate(map(_times, self.pattern), initial=0)
        pattern = tuple(resolved(entry, layers[start]) for entry, start in zip(self.pattern, starts, strict=False))
        object.__setattr__(self, "pattern", pattern)  # the model is frozen for all others
        return self


def _times(entry: Mapping[str, Any]) -> int:
    times: int = entry.get("times", 1)
    return times


def _source(layer: LayerSpec, before: list[LayerSpec]) -> int | None:
    """The index of the last layer whose keys and values ``layer`` can use; None if there is none."""
    return next((other.index for other in reversed(before) if other.mixer.has_kv_for(layer.mixer)), None)
