"""The architectures of llama.cpp that models of ours become, and what llama.cpp can't express."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from llm_core.experiment.layers import LayerSpec
from llm_core.experiment.model import ModelSpec
from llm_core.model.feed_forwards.moe.spec import MixtureOfExperts
from llm_core.model.hf.config import said
from llm_core.model.hf.families import family_named
from llm_core.model.hf.family import told
from llm_core.model.mixers.attending import AttendingSpec
from llm_core.model.mixers.attention.spec import Attention
from llm_core.model.mixers.mla.spec import LatentAttention
from llm_core.model.positions.rope.spec import Rope, RopeScaling
from llm_core.registries import HF_FAMILIES

LITE = (26, 27)
"""The numbers of layers by which llama.cpp knows the small DeepSeek models, whose queries have no latent."""
YARN_RAMP = (1.0, 32.0)
"""``low_frequency`` and ``high_frequency`` of YaRN: most architectures read no others from a file."""


def _nothing(_: ModelSpec) -> list[str]:
    return []


@dataclass(frozen=True)
class Architecture:
    """An architecture of llama.cpp.

    ``pairs``: RoPE rotates channels 2i and 2i + 1 of a head; ours rotates i and i + half. ``square``: n_heads ·
    head_dim must equal d_model. ``windows``: layers may have a window. ``factors``: it reads a factor per angle, which
    Llama 3's scaling needs. ``fused``: queries, keys and values are one tensor. ``own_head``: a tied head is written
    out. ``limits``: further reasons against a specification.
    """

    name: str
    pairs: bool = False
    square: bool = False
    windows: bool = False
    factors: bool = False
    fused: bool = False
    own_head: bool = False
    limits: Callable[[ModelSpec], list[str]] = _nothing

    def reasons_against(self, spec: ModelSpec) -> list[str]:
        """The reasons why llama.cpp can't express ``spec``, which is a model of a family of this architecture."""
        mixers = attentions(spec)
        turned = [layer.mixer for layer in spec.layers if isinstance(layer.mixer, AttendingSpec)]
        scalings = [scaling for mixer in turned if (scaling := scaling_of(mixer))]
        ramps = {(scaling.low_frequency, scaling.high_frequency) for scaling in scalings if scaling.kind == "yarn"}
        checks = {
            "has no windows": not self.windows and any(mixer.window is not None for mixer in mixers),
            "needs n_heads · head_dim to be d_model": self.square
            and any(mixer.n_heads * mixer.heads()[2] != spec.d_model for mixer in mixers),
            "has RoPE scaling yarn with a ramp from 1 to 32 rotations only": not ramps <= {YARN_RAMP},
            "has no RoPE scaling llama3": not self.factors and any(scaling.kind == "llama3" for scaling in scalings),
        }
        return [f"{self.name} {what}" for what, found in checks.items() if found] + self.limits(spec)


def attentions(spec: ModelSpec) -> list[Attention]:
    """The mixers of all layers with softmax attention."""
    return [layer.mixer for layer in spec.layers if isinstance(layer.mixer, Attention)]


def scaling_of(mixer: AttendingSpec) -> RopeScaling | None:
    """The scaling of a mixer's rotary positions, if it has one."""
    return mixer.position.scaling if isinstance(mixer.position, Rope) else None


def experts(layer: LayerSpec) -> MixtureOfExperts | None:
    """The mixture of experts of a layer, if it has one."""
    return layer.feed_forward if isinstance(layer.feed_forward, MixtureOfExperts) else None


def _olmo3(spec: ModelSpec) -> list[str]:
    windowed = [mixer for mixer in attentions(spec) if mixer.window is not None]
    bases = {mixer.position.theta for mixer in attentions(spec) if isinstance(mixer.position, Rope)}
    return [
        *(["olmo2 has one base of RoPE for all layers"] if windowed and len(bases) > 1 else []),
        *(["olmo2 has no RoPE scaling in layers with a window"] if any(map(scaling_of, windowed)) else []),
    ]


def _smollm3(spec: ModelSpec) -> list[str]:
    turning = [isinstance(mixer.position, Rope) for mixer in attentions(spec)]
    fourth = all(turns == ((index + 1) % 4 != 0) for index, turns in enumerate(turning))
    reasons = [] if fourth else ["smollm3 has no positions in exactly every fourth layer"]
    return [*reasons, *(["smollm3 has no biases"] if spec.bias else [])]


def _gemma2(spec: ModelSpec) -> list[str]:
    capped = spec.logit_softcap is not None and all(mixer.softcap is not None for mixer in attentions(spec))
    return [] if capped else ["gemma2 always has both softcaps"]


def _gemma3(spec: ModelSpec) -> list[str]:
    mixers = attentions(spec)
    stretched = [mixer for mixer in mixers if mixer.window is not None and scaling_of(mixer) is not None]
    return [
        *(["gemma3 has no softcap of attention"] if any(mixer.softcap is not None for mixer in mixers) else []),
        *(["gemma3 has no RoPE scaling in layers with a window"] if stretched else []),
    ]


def _qwen3_moe(spec: ModelSpec) -> list[str]:
    found = [experts(layer) for layer in spec.layers]
    return [
        *(["qwen3moe has experts in all layers"] if None in found else []),
        *(["qwen3moe normalises the weights of experts"] if any(moe and not moe.normalise for moe in found) else []),
    ]


def _olmoe(spec: ModelSpec) -> list[str]:
    mixers, found = attentions(spec), [experts(layer) for layer in spec.layers]
    grouped = any(mixer.heads()[0] != mixer.heads()[1] for mixer in mixers)
    return [
        *(["olmoe has as many heads of keys as of queries"] if grouped else []),
        *(["olmoe does not normalise the weights of experts"] if any(moe and moe.normalise for moe in found) else []),
    ]


def _deepseek2(spec: ModelSpec) -> list[str]:
    mixers = [layer.mixer for layer in spec.layers if isinstance(layer.mixer, LatentAttention)]
    found = [moe for layer in spec.layers if (moe := experts(layer))]
    direct = spec.n_layers in LITE
    return [
        *(["deepseek2 has no biases"] if spec.bias else []),
        *(["deepseek2 has experts, and a shared one"] if not found or any(not moe.shared for moe in found) else []),
        *(
            [f"deepseek2 has a q_rank, except in models of {' or '.join(map(str, LITE))} layers, which have none"]
            if any((mixer.q_rank is None) != direct for mixer in mixers)
            else []
        ),
    ]


def _mpt(spec: ModelSpec) -> list[str]:
    mixers = [mixer for mixer in attentions(spec) if mixer.qkv_clip is not None and mixer.scale is not None]
    scaled = any(not math.isclose(mixer.scale or 0.0, mixer.heads()[2] ** -0.5) for mixer in mixers)
    return ["mpt has no scale of attention beside clipped queries"] if scaled else []


def _falcon(spec: ModelSpec) -> list[str]:
    return [
        *([] if spec.parallel else ["falcon has its branches in parallel"]),
        *(["falcon has no biases of products"] if spec.bias else []),
    ]


def _mamba(spec: ModelSpec) -> list[str]:
    return [
        *(["mamba has 2 inner channels per channel (expand)"] if said(spec, "mixer.expand") != 2 else []),
        *(["mamba has no biases"] if spec.bias else []),
    ]


def _mamba2(spec: ModelSpec) -> list[str]:
    return ["mamba2 has no biases"] if spec.bias else []


_LLAMA = Architecture("llama", pairs=True, factors=True)

ARCHITECTURES = {
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "mixtral": _LLAMA,
    "granite": Architecture("granite", pairs=True, factors=True),
    "smollm3": Architecture("smollm3", pairs=True, limits=_smollm3),
    "qwen2": Architecture("qwen2", square=True),
    "qwen3": Architecture("qwen3"),
    "qwen3_moe": Architecture("qwen3moe", limits=_qwen3_moe),
    "phi3": Architecture("phi3", square=True, fused=True),
    "olmo2": Architecture("olmo2", square=True, own_head=True),
    "olmo3": Architecture("olmo2", square=True, windows=True, own_head=True, limits=_olmo3),
    "olmoe": Architecture("olmoe", square=True, own_head=True, limits=_olmoe),
    "gemma2": Architecture("gemma2", windows=True, limits=_gemma2),
    "gemma3_text": Architecture("gemma3", windows=True, limits=_gemma3),
    "gpt2": Architecture("gpt2", fused=True),
    "gpt_neox": Architecture("gptneox", fused=True, own_head=True),
    "mpt": Architecture("mpt", fused=True, limits=_mpt),
    "bloom": Architecture("bloom", fused=True),
    "deepseek_v2": Architecture("deepseek2", pairs=True, limits=_deepseek2),
    "deepseek_v3": Architecture("deepseek2", pairs=True, limits=_deepseek2),
    "falcon": Architecture("falcon", square=True, fused=True, limits=_falcon),
    "lfm2": Architecture("lfm2", square=True),
    "mamba": Architecture("mamba", limits=_mamba),
    "mamba2": Architecture("mamba2", limits=_mamba2),
}
"""Our family of transformers → the architecture of llama.cpp."""

WITHOUT = {
    "rwkv": "llama.cpp has RWKV-6 and RWKV-7 only",
}
"""Families without an architecture, and why."""


def architecture_of(spec: ModelSpec, families: Iterable[str] = HF_FAMILIES) -> Architecture | str:
    """The architecture of the first family that can express ``spec`` in llama.cpp too; or else the reasons, as text."""
    reasons = []
    for name in families:
        if family_named(name).reasons_against(spec):
            continue
        if name not in ARCHITECTURES:
            reasons.append(f"{name}: {WITHOUT.get(name, 'a plug-in, which llama.cpp does not know')}")
            continue
        found = ARCHITECTURES[name].reasons_against(spec)
        if not found:
            return ARCHITECTURES[name]
        reasons.append(f"{name}: {told(found)}")
    return "; ".join(reasons) or "no architecture of transformers can express the model, so no GGUF file is written"
