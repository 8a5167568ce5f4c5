"""What of a specification decides the logits of one text: what an exported model must have in common with ours."""

from typing import Any

from llm_core.experiment.layers import LayerSpec
from llm_core.experiment.model import ModelSpec
from llm_core.model.hf.rope import turning


def facts(spec: ModelSpec) -> dict[str, Any]:
    """Name → value of everything that decides the logits, by layer where it may differ.

    Left out: what matters in training only (dropout, initialisation, balancing), what keeps documents apart, and fields
    of parts that a layer does not have. Two specifications with equal facts have the same weights and the same logits.
    """
    found: dict[str, Any] = {
        name: getattr(spec, name)
        for name in (
            *("d_model", "n_layers", "norm", "norm_eps", "bias", "tie_embeddings", "embedding_scale"),
            *("logit_softcap", "max_positions", "multi_token"),
        )
    }
    found["added positions"] = spec.position if spec.position in ("sinusoidal", "learned") else None
    for layer in spec.layers:
        found |= {f"layer {layer.index}: {name}": value for name, value in _of_layer(spec, layer).items()}
    return found


def _of_layer(spec: ModelSpec, layer: LayerSpec) -> dict[str, Any]:
    found: dict[str, Any] = {"mixer": layer.mixer, "feed_forward": layer.feed_forward, "norm": layer.norm}
    found |= {"norm_placement": layer.norm_placement, "share_kv": layer.share_kv}
    if layer.mixer in ("attention", "mla"):
        found |= {"position": layer.position, "window": layer.window, "rope": turning(spec, layer)}
        found |= {"attention_softcap": spec.attention_softcap, "n_heads": layer.n_heads}
    if layer.mixer == "attention":
        _, n_kv_heads, head_dim = layer.heads
        found |= {"n_kv_heads": n_kv_heads, "head_dim": head_dim, "qk_norm": spec.qk_norm, "qkv_clip": spec.qkv_clip}
        found["attention_scale"] = spec.attention_scale or head_dim**-0.5
    elif layer.mixer == "mla" and spec.mla is not None:
        found |= {f"mla.{name}": value for name, value in spec.mla.model_dump().items()}
        found["attention_scale"] = spec.attention_scale or (spec.mla.nope_dim + spec.mla.rope_dim) ** -0.5
    elif layer.mixer == "liv" and spec.liv is not None:
        found |= {f"liv.{name}": value for name, value in spec.liv.model_dump().items()}
    elif layer.mixer == "mamba2" and spec.mamba2 is not None:
        found |= {f"mamba2.{name}": value for name, value in spec.mamba2.model_dump(exclude={"chunk"}).items()}
    if layer.feed_forward == "moe" and spec.moe is not None:
        section = spec.moe.model_dump(exclude={"balance_loss", "bias_rate"})
        found |= {f"moe.{name}": value for name, value in section.items()}
        found["moe.selection bias"] = spec.moe.bias_rate > 0
    elif layer.feed_forward is not None:
        found["d_ff"] = layer.d_ff
    return found
