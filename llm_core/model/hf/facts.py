"""What of a specification decides the logits of one text: what an exported model must have in common with ours."""

from typing import Any

from llm_core.experiment.component import Component
from llm_core.experiment.layers import LayerSpec
from llm_core.experiment.model import ModelSpec


def facts(spec: ModelSpec) -> dict[str, Any]:
    """Name → value of everything that decides the logits, by layer where it may differ.

    Left out: what matters in training only (dropout, initialisation, balancing), and what keeps documents apart. Two
    specifications with equal facts have the same weights and the same logits.
    """
    found: dict[str, Any] = {
        name: getattr(spec, name)
        for name in (
            *("d_model", "n_layers", "bias", "tie_embeddings"),
            *("embedding_scale", "embedding_norm", "logit_softcap", "multi_token"),
        )
    }
    found |= {**_settings("norm", spec.norm), **_settings("absolute_position", spec.absolute_position)}
    for layer in spec.layers:
        found |= {f"layer {layer.index}: {name}": value for name, value in _of_layer(layer).items()}
    return found


def _settings(name: str, component: Component | None) -> dict[str, Any]:
    settings = {"kind": None} if component is None else component.model_dump()
    return {f"{name}.{key}": value for key, value in settings.items()}


def _of_layer(layer: LayerSpec) -> dict[str, Any]:
    feeds = {"kind": None} if layer.feed_forward is None else layer.feed_forward.facts()
    return {
        **_settings("norm", layer.norm),
        "norm_placement": layer.norm_placement,
        "kv_from": layer.kv_from,
        **{f"mixer.{name}": value for name, value in layer.mixer.facts().items()},
        **{f"feed_forward.{name}": value for name, value in feeds.items()},
    }
