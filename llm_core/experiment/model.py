"""The section that describes a model: fields that hold for every layer, and a pattern of layers that differ."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, JsonValue, ValidationError, model_validator

from llm_core.experiment.base import Spec, later, one_of, told
from llm_core.experiment.layers import (
    DropoutShare,
    LayerSpec,
    LIVSpec,
    Mamba2Spec,
    MLASpec,
    MoESpec,
    MultiTokenSpec,
    NormPlacement,
    Positive,
    RopeScaling,
    Width,
)
from llm_core.experiment.model_presets import MODELS
from llm_core.registries import ABSOLUTE_POSITIONS, FEED_FORWARDS, MIXERS, NORMS, POSITIONS

_OF_ALL_LAYERS = tuple(name for name in LayerSpec.model_fields if name not in ("share_kv", "index", "kv_from"))
_CHANGEABLE = (*_OF_ALL_LAYERS, "share_kv")
_OF_HEADS = ("n_heads", "n_kv_heads", "head_dim", "position", "rope_theta", "rope_scaling")
_NOT_READ = {"mla": ("n_kv_heads", "head_dim"), "liv": _OF_HEADS, "mamba2": _OF_HEADS}
"""Mixer → fields that say nothing about it. Of a model they are for its other layers; of one layer, a mistake."""


def _position(name: str) -> str:
    if name not in ABSOLUTE_POSITIONS:
        POSITIONS.check(name)
    return name


class ModelSpec(Spec):
    """A decoder-only language model, layer by layer.

    ``preset`` (in YAML) names a model of ``llm_core.experiment.model_presets``; other fields stand over its fields.
    """

    d_model: Width
    n_layers: Annotated[int, Field(ge=1, le=1000)]
    mixer: Annotated[str, one_of(MIXERS)] = "attention"
    """What lets tokens see each other."""
    n_heads: Width | None = None
    n_kv_heads: Width | None = None
    """Heads of keys and values; by default as many as of queries."""
    head_dim: Width | None = None
    """Channels of a head; by default d_model / n_heads."""
    window: Width | None = None
    position: Annotated[str, Field(description="rope, alibi, nope, sinusoidal or learned")] = "rope"
    rope_theta: Positive = 10_000.0
    rope_scaling: RopeScaling | None = None
    max_positions: Width | None = None
    """Only position ``learned``: how many there are."""
    feed_forward: Annotated[str, one_of(FEED_FORWARDS)] | None = "swiglu"
    """What follows the mixer in a block; None: nothing, as in Mamba models."""
    d_ff: Width | None = None
    norm: Annotated[str, one_of(NORMS)] = "rmsnorm"
    norm_eps: Positive = 1e-5
    norm_placement: NormPlacement = "pre"
    """``pre``: x + f(norm(x)). ``post``: norm(x + f(x)) (Vaswani et al., 2017). ``sandwich``: x + norm(f(norm(x)))
    (Gemma 2). ``reordered``: x + norm(f(x)) (OLMo 2)."""
    bias: bool = False
    """Whether products of attention and feed-forward, and LayerNorm, add a bias."""
    qk_norm: bool = False
    qkv_clip: Positive | None = None
    """Queries, keys and values are cut to ± this (MPT)."""
    attention_scale: Positive | None = None
    """What scores are multiplied by; by default 1 / sqrt(head_dim)."""
    attention_softcap: Positive | None = None
    """Scores become c · tanh(score / c) (Gemma 2 has 50)."""
    logit_softcap: Positive | None = None
    """The same for the logits (Gemma 2 has 30)."""
    embedding_scale: Positive = 1.0
    """What embeddings are multiplied by (Gemma: sqrt(d_model))."""
    dropout: DropoutShare = 0.0
    """Share of the channels left out, in training, of the embedding and of what each branch adds to the stream."""
    attention_dropout: DropoutShare = later(default=0.0, absent=0.0)
    """Share of attention's weights, after the softmax, left out in training; of mixers ``attention`` and ``mla``."""
    tie_embeddings: bool = True
    document_mask: bool = False
    """What one document says reaches no other one, in any mixer."""
    init_std: Positive = 0.02
    """The scale of all weights at the start, and of ``sinusoidal`` positions for good."""
    mla: MLASpec | None = None
    liv: LIVSpec | None = None
    mamba2: Mamba2Spec | None = None
    moe: MoESpec | None = None
    multi_token: MultiTokenSpec | None = None
    # Not strict: behind a validator that runs before, JSON's lists are no longer known as JSON.
    pattern: Annotated[tuple[dict[str, JsonValue], ...], Field(strict=False)] = ()
    """Layers that differ: fields and their values, or nothing, for each layer of a period that is repeated over the
    depth. ``times: n`` stands for n such layers."""

    @model_validator(mode="before")
    @classmethod
    def _preset(cls, data: Any) -> Any:
        if not isinstance(data, Mapping) or "preset" not in data:
            return data
        name = data["preset"]
        if not isinstance(name, str) or name not in MODELS:
            raise ValueError(f"unknown preset {name!r}; known: {', '.join(sorted(MODELS))}")
        return {**MODELS[name], **{key: value for key, value in data.items() if key != "preset"}}

    @property
    def layers(self) -> tuple[LayerSpec, ...]:
        """All layers from the first to the last, resolved."""
        period = [
            (f"pattern[{number}]", {key: value for key, value in entry.items() if key != "times"})
            for number, entry in enumerate(self.pattern or ({},))
            for _ in range(_times(entry))
        ]
        shared = {name: getattr(self, name) for name in _OF_ALL_LAYERS}
        shared["share_kv"] = False
        if shared["position"] in ABSOLUTE_POSITIONS:
            shared["position"] = "nope"  # it is added to the embedding, and attention knows nothing of it
        layers: list[LayerSpec] = []
        for index in range(self.n_layers):
            place, entry = period[index % len(period)]
            try:
                layer = LayerSpec.model_validate({**shared, **_parsed(place, entry), "index": index})
            except ValidationError as error:
                raise ValueError(told(error, place)) from None
            layer = layer.model_copy(update=self._defaults(layer, set(entry)))
            if layer.share_kv:
                layer = layer.model_copy(update={"kv_from": _source(layer, layers)})
            layers.append(layer)
        return tuple(layers)

    def _defaults(self, layer: LayerSpec, given: set[str]) -> dict[str, Any]:
        """What follows from other fields of ``layer``; ``given``: those that its entry of ``pattern`` names."""
        found: dict[str, Any] = {}
        if layer.n_heads is not None and layer.head_dim is None:
            # Only attention's heads are as wide as this.
            if layer.mixer == "attention" and self.d_model % layer.n_heads:
                where = f"layer {layer.index}: " if self.pattern else ""
                raise ValueError(
                    f"{where}d_model {self.d_model} is not a multiple of n_heads {layer.n_heads}; or give head_dim"
                )
            found["head_dim"] = self.d_model // layer.n_heads
        if layer.n_kv_heads is None:
            found["n_kv_heads"] = layer.n_heads
        # Where every n-th layer has no positions, a scaling of the model is that of the others.
        if layer.position != "rope" and "rope_scaling" not in given:
            found["rope_scaling"] = None
        return found

    @model_validator(mode="after")
    def _agrees(self) -> "ModelSpec":
        _position(self.position)
        if (self.position == "learned") != (self.max_positions is not None):
            raise ValueError("position 'learned' needs max_positions, and no other position takes it")
        for number, entry in enumerate(self.pattern):
            unknown = sorted(entry.keys() - {*_CHANGEABLE, "times"})
            if unknown:
                raise ValueError(
                    f"pattern[{number}]: {', '.join(unknown)}: no layer has such a field; "
                    f"known: {', '.join(_CHANGEABLE)}"
                )
            times = entry.get("times", 1)
            if not isinstance(times, int) or isinstance(times, bool) or times < 1:
                raise ValueError(f"pattern[{number}]: times must be a whole number from 1 on (it is {times!r})")
            mixer = str(entry.get("mixer", self.mixer))
            if unread := [name for name in _NOT_READ.get(mixer, ()) if name in entry]:
                raise ValueError(f"pattern[{number}]: mixer {mixer!r} does not read {', '.join(unread)}; leave it out")
            if "d_ff" in entry and entry.get("feed_forward", self.feed_forward) is None:
                raise ValueError(f"pattern[{number}]: d_ff: feed_forward is null, and has no width; leave it out")
        period = sum(_times(entry) for entry in self.pattern)
        if period and self.n_layers % period:
            raise ValueError(f"pattern: its {period} layers do not divide n_layers {self.n_layers}")
        layers = self.layers
        for layer in layers:
            _check_layer(self, layer)
        _check_sections(self, layers)
        return self


def _times(entry: Mapping[str, Any]) -> int:
    times: int = entry.get("times", 1)
    return times


def _parsed(place: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    """The values of an entry of ``pattern`` as their types want them."""
    scaling = entry.get("rope_scaling")
    if not scaling:
        return dict(entry)
    try:
        return {**entry, "rope_scaling": RopeScaling.model_validate(scaling)}
    except ValidationError as error:
        raise ValueError(told(error, f"{place}.rope_scaling")) from None


def _source(layer: LayerSpec, before: list[LayerSpec]) -> int:
    """The layer whose keys and values ``layer`` shares: the last one like it that has its own."""
    alike = ("mixer", "n_kv_heads", "head_dim", "window", "position", "rope_theta", "rope_scaling")
    for other in reversed(before):
        if not other.share_kv and all(getattr(other, name) == getattr(layer, name) for name in alike):
            return other.index
    raise ValueError(
        f"layer {layer.index}: share_kv: no layer before it has keys and values of its own with the same mixer, "
        f"n_kv_heads, head_dim, window and position; the first of a kind can't share"
    )


def _check_layer(spec: ModelSpec, layer: LayerSpec) -> None:
    where = f"layer {layer.index}: " if spec.pattern else ""
    attends = layer.mixer in ("attention", "mla")
    if attends and layer.n_heads is None:
        raise ValueError(f"{where}mixer {layer.mixer!r} needs n_heads")
    if layer.mixer == "attention":
        n_heads, n_kv_heads, head_dim = layer.heads
        if n_heads % n_kv_heads:
            raise ValueError(f"{where}n_heads {n_heads} is not a multiple of n_kv_heads {n_kv_heads}")
        if layer.position == "rope" and head_dim % 2:
            raise ValueError(f"{where}rope turns pairs: head_dim {head_dim} must be even")
    if layer.mixer == "mla" and layer.position == "alibi":
        raise ValueError(f"{where}mixer 'mla' takes position 'rope' or 'nope', not 'alibi'")
    if layer.share_kv and layer.mixer != "attention":
        raise ValueError(f"{where}share_kv belongs to mixer 'attention', not to {layer.mixer!r}")
    if layer.window is not None and not attends:
        hybrid = spec.window is not None and any(other.mixer in ("attention", "mla") for other in spec.layers)
        advice = "put it into the pattern's entries with attention" if hybrid else "leave it out"
        if spec.window is None:
            advice += ", or a preset's pattern by pattern: []"
        raise ValueError(f"{where}window belongs to attention, not to mixer {layer.mixer!r}: {advice}")
    if layer.rope_scaling is not None and layer.position != "rope":
        raise ValueError(f"{where}rope_scaling belongs to position 'rope', not to {layer.position!r}")
    if layer.rope_scaling is not None and attends:
        _check_scaling(layer, spec.mla.rope_dim if spec.mla and layer.mixer == "mla" else layer.heads[2], where)
    if layer.feed_forward not in ("moe", None) and layer.d_ff is None:
        raise ValueError(f"{where}feed_forward {layer.feed_forward!r} needs d_ff")


def _check_scaling(layer: LayerSpec, channels: int, where: str) -> None:
    scaling = layer.rope_scaling
    assert scaling is not None
    if scaling.kind == "ntk" and channels < 4:
        raise ValueError(
            f"{where}rope_scaling 'ntk' stretches all pairs of channels but one: {channels} channels are one"
        )
    if scaling.kind == "yarn" and layer.rope_theta <= 1:
        raise ValueError(f"{where}rope_scaling 'yarn' wants channels of different speeds: rope_theta must be above 1")


def _check_sections(spec: ModelSpec, layers: tuple[LayerSpec, ...]) -> None:
    mixers = {layer.mixer for layer in layers}
    used = {**{name: name in mixers for name in ("mla", "liv", "mamba2")}, "moe": False}
    used["moe"] = any(layer.feed_forward == "moe" for layer in layers)
    for name, wanted in used.items():
        if wanted and getattr(spec, name) is None:
            raise ValueError(f"a layer is {name!r}: give the section '{name}'")
        if not wanted and getattr(spec, name) is not None:
            field = "feed_forward" if name == "moe" else "mixer"
            raise ValueError(f"{name}: no layer has {field} {name!r}; say so, or leave the section out")
    if spec.mamba2 is not None and "mamba2" in mixers:
        inner = spec.mamba2.expand * spec.d_model
        if inner % spec.mamba2.head_dim:
            raise ValueError(f"mamba2: expand · d_model = {inner} is not a multiple of head_dim {spec.mamba2.head_dim}")
        if (inner // spec.mamba2.head_dim) % spec.mamba2.groups:
            heads = inner // spec.mamba2.head_dim
            raise ValueError(f"mamba2: its {heads} heads are not a multiple of groups {spec.mamba2.groups}")
    if spec.rope_scaling is not None and not any(
        layer.position == "rope" and layer.mixer in ("attention", "mla") for layer in layers
    ):
        raise ValueError("rope_scaling belongs to position 'rope', which no layer with attention has")
    for name in ("qk_norm", "qkv_clip"):
        if getattr(spec, name) and "attention" not in mixers:
            raise ValueError(f"{name}: no layer has mixer 'attention'")
    for name in ("attention_scale", "attention_softcap", "attention_dropout"):
        if getattr(spec, name) and not mixers & {"attention", "mla"}:
            raise ValueError(f"{name}: no layer attends")
