"""Techniques that replace a layer's parts: the mixer in all layers, and the feed-forward."""

from typing import Any

from llm_core.optimizations.shapes import attention, gated_width, plain_width, receptive_width
from llm_core.optimizations.technique import Change, Overrides, Recipe, Technique


def _only_attention(recipe: Recipe) -> Overrides:
    attention(recipe)
    return {"model": {"pattern": [], "mixer": recipe.model.mixer.on_its_own().model_dump(mode="json")}}


def _only(mixer: Any) -> Change:
    """All layers with a mixer, which may depend on the recipe."""

    def changed(recipe: Recipe) -> Overrides:
        attention(recipe)
        return {"model": {"pattern": [], "mixer": mixer(recipe) if callable(mixer) else mixer}}

    return changed


def _latent(recipe: Recipe) -> dict[str, Any]:
    own = attention(recipe)
    head_dim = own.heads()[2]
    rotated = max(2, head_dim // 4 // 2 * 2)
    return {
        "kind": "mla",
        "n_heads": own.n_heads,
        "kv_rank": max(1, recipe.model.d_model // 2),
        "nope_dim": max(1, head_dim - rotated),
        "rope_dim": rotated,
        "value_dim": head_dim,
        "position": own.position.model_dump(mode="json"),
    }


def _mixer(
    name: str, title: str, mixer: Any, code: tuple[str, ...], upkeep: str, use: str, skip: str, source: str
) -> Technique:
    return Technique(
        title=title,
        versus=f"attention in all layers → {name}",
        off=_only_attention,
        on=_only(mixer),
        effect="changes",
        code=code,
        upkeep=upkeep,
        use=use,
        skip=skip,
        source=source,
        components=(f"MIXERS.{name}",),
    )


def _width_of(width: Any, kind: str, **more: Any) -> Change:
    def changed(recipe: Recipe) -> Overrides:
        return {"model": {"feed_forward": {"kind": kind, "d_ff": width(recipe), **more}}}

    return changed


def _feed_forward(
    kind: str, title: str, before: str, width: Any, code: tuple[str, ...], upkeep: str, use: str, skip: str, source: str
) -> Technique:
    """``before``: the kind on the side before, which has as many parameters."""
    return Technique(
        title=title,
        versus=f"{before} → {kind}, with as many parameters",
        off=_width_of(gated_width if before == "swiglu" else plain_width, before),
        on=_width_of(width, kind),
        effect="changes",
        code=code,
        upkeep=upkeep,
        use=use,
        skip=skip,
        source=source,
        components=(f"FEED_FORWARDS.{kind}",),
    )


def _experts(recipe: Recipe) -> Overrides:
    width = max(8, gated_width(recipe) // 2 // 8 * 8)
    return {"model": {"feed_forward": {"kind": "moe", "experts": 8, "top_k": 2, "d_ff": width}}}


_GATED = "llm_core.model.feed_forwards.gated.module"
_PLAIN = "llm_core.model.feed_forwards.plain.module"
_CHANNEL_MIX = "llm_core.model.feed_forwards.channel_mix.module"
_SHIFT = "llm_core.model.token_shift"

LAYERS: dict[str, Technique] = {
    "mla": _mixer(
        "mla", "Multi-head latent attention", _latent, ("llm_core.model.mixers.mla.module",),
        "Medium. Its cache and its rotated part are special.",
        "Long contexts with a small cache and full quality.",
        "Short contexts: two products more per layer.",
        "DeepSeek-AI, 2024",
    ),
    "liv": _mixer(
        "liv", "Gated short convolution", {"kind": "liv"},
        ("llm_core.model.mixers.liv.module", "llm_core.model.convolution"),
        "Low. A convolution of three tokens.",
        "Most layers of a small model, with some attention between.",
        "All layers: it sees only a few tokens back.",
        "Liquid AI, 2025",
    ),
    "mamba": _mixer(
        "mamba", "Mamba", {"kind": "mamba"},
        ("llm_core.model.mixers.mamba.module", "llm_core.model.mixers.mamba.scan"),
        "High. A scan with a backward pass by hand, and a state for generation.",
        "Imported models.",
        "New models: Mamba-2, whose scan consists of matrix products.",
        "Gu and Dao, 2023",
    ),
    "mamba2": _mixer(
        "mamba2", "Mamba-2", {"kind": "mamba2"}, ("llm_core.model.mixers.mamba2.module", "llm_core.model.scan"),
        "High. A scan with chunks, and a state for generation.",
        "Very long sequences, or constant memory per answer.",
        "Short sequences on CPUs; tasks that look up exact text.",
        "Dao and Gu, 2024",
    ),
    "retention": _mixer(
        "retention", "Retention", lambda recipe: {"kind": "retention", "n_heads": attention(recipe).n_heads},
        ("llm_core.model.mixers.retnet.module",),
        "Medium. Decay per head, and a state for generation.",
        "Constant memory per answer.",
        "Quality first: attention is better at equal size.",
        "Sun et al., 2023",
    ),
    "hyena": _mixer(
        "hyena", "Hyena", lambda recipe: {"kind": "hyena", "max_length": recipe.training.sequence_length},
        ("llm_core.model.mixers.hyena.module", "llm_core.model.mixers.hyena.convolution"),
        "High. Long convolutions by FFT, for a fixed longest sequence.",
        "Research on long convolutions.",
        "Generation, which has to keep all inputs.",
        "Poli et al., 2023",
    ),
    "rwkv4": _mixer(
        "rwkv4", "RWKV-4", {"kind": "rwkv4"},
        ("llm_core.model.mixers.rwkv4.module", "llm_core.model.mixers.rwkv4.means", _SHIFT),
        "Medium. Running means with care for overflow.",
        "Imported models.",
        "New models: RWKV-7.",
        "Peng et al., 2023",
    ),
    "rwkv7": _mixer(
        "rwkv7", "RWKV-7", {"kind": "rwkv7"},
        ("llm_core.model.mixers.rwkv7.module", "llm_core.model.mixers.rwkv7.recurrence", _SHIFT),
        "High. A recurrence with an inverse per chunk.",
        "Constant memory per answer.",
        "Short sequences; devices without a fast kernel for it.",
        "Peng et al., 2025",
    ),
    "swiglu": _feed_forward(
        "swiglu", "SwiGLU", "gelu", gated_width, (f"{_GATED}:_Gated", f"{_GATED}:SwiGLU"),
        "Low.", "The default.", "Imported models with two matrices.", "Shazeer, 2020",
    ),
    "geglu": _feed_forward(
        "geglu", "GeGLU", "gelu", gated_width, (f"{_GATED}:_Gated", f"{_GATED}:GeGLU"),
        "Low.", "Imported Gemma models.", "New models: SwiGLU is as good and cheaper.", "Shazeer, 2020",
    ),
    "gelu_tanh": _feed_forward(
        "gelu_tanh", "GELU by tanh", "gelu", plain_width, (f"{_PLAIN}:_Plain", f"{_PLAIN}:GELUTanh"),
        "Low.", "Imported models, such as GPT-2.", "New models.", "Hendrycks and Gimpel, 2016",
    ),
    "relu": _feed_forward(
        "relu", "ReLU", "gelu", plain_width, (f"{_PLAIN}:_Plain", f"{_PLAIN}:ReLU"),
        "Low.", "Comparisons with the original Transformer.", "New models.", "Vaswani et al., 2017",
    ),
    "relu2": _feed_forward(
        "relu2", "Squared ReLU", "gelu", plain_width, (f"{_PLAIN}:_Plain", f"{_PLAIN}:ReLU2"),
        "Low.", "Small models: cheap, and good at equal tokens.", "Exports to Llama; fp8, whose range squares narrow.",
        "So et al., 2021",
    ),
    "moe": Technique(
        title="Mixture of experts",
        versus="swiglu → 8 experts of half its width, two per token",
        off=_width_of(gated_width, "swiglu"),
        on=_experts,
        effect="changes",
        code=("llm_core.model.feed_forwards.moe.module", "llm_core.model.feed_forwards.moe.grouped"),
        upkeep="High. Routing, balance, and products of uneven size.",
        use="Much memory per FLOP: more parameters at equal FLOPs per token.",
        skip="Memory is short; CPUs, which multiply expert by expert.",
        source="Shazeer et al., 2017",
        components=("FEED_FORWARDS.moe",),
    ),
    "rwkv4_channel_mix": _feed_forward(
        "rwkv4_channel_mix", "Channel mix of RWKV-4", "swiglu", receptive_width,
        (f"{_CHANNEL_MIX}:_ChannelMix", f"{_CHANNEL_MIX}:Rwkv4ChannelMix", _SHIFT),
        "Medium. It keeps the last token for generation.", "RWKV-4 models.", "Models without RWKV's mixers.",
        "Peng et al., 2023",
    ),
    "rwkv7_channel_mix": _feed_forward(
        "rwkv7_channel_mix", "Channel mix of RWKV-7", "swiglu", plain_width,
        (f"{_CHANNEL_MIX}:_ChannelMix", f"{_CHANNEL_MIX}:Rwkv7ChannelMix", _SHIFT),
        "Medium. It keeps the last token for generation.", "RWKV-7 models.", "Models without RWKV's mixers.",
        "Peng et al., 2025",
    ),
}  # fmt: skip
