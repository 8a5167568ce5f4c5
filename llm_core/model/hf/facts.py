"""The settings that decide the logits of a text. An exported model must have the same ones."""

from typing import Any

from llm_core.experiment.component import Component
from llm_core.experiment.layers import LayerSpec, NormSpec
from llm_core.experiment.model import ModelSpec
from llm_core.model.norms.spec import LayerNorm


def facts(spec: ModelSpec) -> dict[str, Any]:
    """Name → value of every setting that decides the logits, per layer if layers may differ.

    Settings for training only (dropout, initialisation, balancing) and document masks are left out. Models with equal
    facts and equal weights have equal logits.
    """
    found: dict[str, Any] = {
        name: getattr(spec, name)
        for name in (
            *("d_model", "n_layers", "bias", "tie_embeddings", "embedding_scale", "embedding_norm"),
            *("residual_scale", "logit_scale"),
            *("ngram_embedding", "logit_softcap", "multi_token", "parametrization"),
        )
    }
    found |= {**_norm(spec.norm, spec.bias), **_settings("absolute_position", spec.absolute_position)}
    for layer in spec.layers:
        found |= {f"layer {layer.index}: {name}": value for name, value in _of_layer(layer, spec.bias).items()}
    return found


def _settings(name: str, component: Component | None) -> dict[str, Any]:
    settings = {"kind": None} if component is None else component.model_dump()
    return {f"{name}.{key}": value for key, value in settings.items()}


def _norm(norm: NormSpec, bias: bool) -> dict[str, Any]:
    found = _settings("norm", norm)
    return {**found, "norm.bias": norm.has_bias(bias)} if isinstance(norm, LayerNorm) else found


def _of_layer(layer: LayerSpec, bias: bool) -> dict[str, Any]:
    feeds = {"kind": None} if layer.feed_forward is None else layer.feed_forward.facts()
    return {
        **_norm(layer.norm, bias),
        "norm_placement": layer.norm_placement,
        "parallel": layer.parallel,
        "kv_from": layer.kv_from,
        "stream_scales": layer.stream_scales,
        **{f"mixer.{name}": value for name, value in layer.mixer.facts().items()},
        **{f"feed_forward.{name}": value for name, value in feeds.items()},
    }
