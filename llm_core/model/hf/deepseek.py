"""DeepSeek V2 and V3: latent attention, and after the first layers mixtures of experts with shared ones."""

import math

from llm_core.experiment.layers import LayerSpec
from llm_core.experiment.model import ModelSpec
from llm_core.model.hf.config import Config, Fields, Fixed, Implied, Key, Part, UnsupportedError, look_up
from llm_core.model.hf.experts import DENSE_WIDTH, ExpertLayers, experts, mixture_of, routes, shared_experts
from llm_core.model.hf.family import Family
from llm_core.model.hf.keys import ATTENTION_DROPOUT, SIZES, UNTIED
from llm_core.model.hf.llama import OUTER, whole_heads
from llm_core.model.hf.rope import Rope
from llm_core.model.hf.weights import LLAMA_MLP, LLAMA_NORMS, Ordered, Weight, gated, weight
from llm_core.model.mixers.mla.spec import LatentAttention


def _dense_first(parts: tuple[Part, ...], absent: int) -> ExpertLayers:
    """The first layers are dense. ``absent``: their number without the key."""
    key = "first_k_dense_replace"

    def dense(config: Config, index: int) -> bool:
        return index < (config.get(key, absent) or 0)

    def listed(numbers: list[int]) -> Config:
        return {key: len(numbers)}

    return ExpertLayers(parts, dense, listed)


class _Groups(Part):
    """Groups of experts, of which all must be chosen."""

    def read(self, config: Config, fields: Fields) -> None:  # noqa: ARG002
        """See ``Part``."""
        groups, chosen = config.get("n_group", 8), config.get("topk_group", 4)
        if groups != chosen:
            raise UnsupportedError(f"topk_group: {chosen} of {groups} groups of experts; only all can be imported")

    def write(self, spec: ModelSpec, config: Config) -> None:  # noqa: ARG002
        """See ``Part``."""
        config |= {"n_group": 1, "topk_group": 1}


class _Temperature(Part):
    """YaRN's factor of the scores: (0.1 · m · ln(factor) + 1)². The paper and our models have m = 1.

    Another m becomes another ``scale``. ``mscale`` is m for the rotated channels, and must be equal.
    """

    def read(self, config: Config, fields: Fields) -> None:
        """See ``Part``."""
        scaling = look_up(fields.model, "mixer.position.scaling")
        if scaling is None or scaling["kind"] != "yarn":
            return
        parameters = config.get("rope_parameters") or config["rope_scaling"]
        turned, all_channels = (parameters.get(name) for name in ("mscale", "mscale_all_dim"))
        if not all_channels or turned != all_channels or parameters.get("attention_factor") is not None:
            raise UnsupportedError(f"rope_scaling: mscale {turned} and mscale_all_dim {all_channels} must be equal")
        if all_channels != 1:
            key_dim = fields.model["mixer"]["nope_dim"] + fields.model["mixer"]["rope_dim"]
            ratio = _sharpened(all_channels, scaling["factor"]) / _sharpened(1.0, scaling["factor"])
            fields.model["mixer"]["scale"] = key_dim**-0.5 * ratio

    def write(self, spec: ModelSpec, config: Config) -> None:
        """See ``Part``."""
        scaling = config.get("rope_scaling")
        mixer = spec.layers[0].mixer
        if scaling is None or scaling["rope_type"] != "yarn" or not isinstance(mixer, LatentAttention):
            return
        mscale = 1.0
        if mixer.scale is not None and scaling["factor"] > 1:  # a factor of 1 sharpens nothing
            ratio = mixer.scale * mixer.head_widths()[0] ** 0.5
            sharpened = ratio * _sharpened(1.0, scaling["factor"])
            # Published values have few digits. A difference beyond rounding is read back as another scale.
            mscale = round((sharpened**0.5 - 1) / (0.1 * math.log(scaling["factor"])), 6)
        scaling |= {"mscale": mscale, "mscale_all_dim": mscale}


def _sharpened(mscale: float, factor: float) -> float:
    return (0.1 * mscale * math.log(factor) + 1) ** 2


def _turned(before: int, nope: int, rope: int, heads: int) -> Ordered:
    """Rows of which their models rotate the pairs (2i, 2i + 1), and ours the pairs (i, i + P/2).

    ``before`` rows, then ``nope`` and ``rope`` rows for each head. Only the order of the ``rope`` rows differs.
    """
    pairs = [*range(0, rope, 2), *range(1, rope, 2)]
    order = list(range(before))
    for head in range(heads):
        start = before + head * (nope + rope)
        order += [start + row for row in range(nope)] + [start + nope + row for row in pairs]
    return Ordered(tuple(order))


def _keys_first(nope: int, value: int, heads: int) -> Ordered:
    """Rows with key and value of each head in theirs; in ours the keys of all heads, then the values of all heads."""
    starts = range(0, heads * (nope + value), nope + value)
    keys = [start + row for start in starts for row in range(nope)]
    values = [start + nope + row for start in starts for row in range(value)]
    return Ordered((*keys, *values))


def _block(spec: ModelSpec, layer: LayerSpec) -> list[Weight]:
    mla = layer.mixer
    assert isinstance(mla, LatentAttention)
    queries = _turned(0, mla.nope_dim, mla.rope_dim, mla.n_heads)
    keys = _turned(mla.kv_rank, 0, mla.rope_dim, 1)
    attending = [
        weight("mixer.kv_down", "self_attn.kv_a_proj_with_mqa", form=keys),
        weight("mixer.kv_norm", "self_attn.kv_a_layernorm"),
        weight("mixer.kv_up", "self_attn.kv_b_proj", form=_keys_first(mla.nope_dim, mla.value_dim, mla.n_heads)),
        weight("mixer.output", "self_attn.o_proj"),
    ]
    if mla.q_rank is None:
        attending.append(weight("mixer.query_up", "self_attn.q_proj", form=queries))
    else:
        attending += [
            weight("mixer.query_down", "self_attn.q_a_proj"),
            weight("mixer.query_norm", "self_attn.q_a_layernorm"),
            weight("mixer.query_up", "self_attn.q_b_proj", form=queries),
        ]
    if routes(layer):
        return [*LLAMA_NORMS, *attending, *_mixture(spec, layer)]
    return [*LLAMA_NORMS, *attending, *gated(layer, LLAMA_MLP)]


def _mixture(spec: ModelSpec, layer: LayerSpec) -> list[Weight]:
    moe = mixture_of(layer)
    names = ("gate_proj", "up_proj", "down_proj")
    weights = [weight("feed_forward.router", "mlp.gate")]
    if moe.bias_rate > 0:
        weights.append(Weight("feed_forward.selection_bias", ("mlp.gate.e_score_correction_bias",)))
    weights += experts(moe, spec.d_model, "mlp.experts", names)
    return weights + shared_experts(moe, "mlp.shared_experts", names)


_ATTENTION = (
    # All heads have keys of their own, so this has the value of num_attention_heads, which is read after it.
    Key("num_key_value_heads", "mixer.n_heads", absent=None),
    *SIZES,
    Key("kv_lora_rank", "mixer.kv_rank", absent=512),
    Key("q_lora_rank", "mixer.q_rank", absent=1536),
    Key("qk_nope_head_dim", "mixer.nope_dim", absent=128),
    Key("qk_rope_head_dim", "mixer.rope_dim", absent=64),
    Key("v_head_dim", "mixer.value_dim", absent=128),
    Implied("feed_forward.kind", "swiglu"),
    DENSE_WIDTH,
    UNTIED,
    # transformers uses this eps for the norms of latents, whatever the key.
    Fixed("rms_norm_eps", 1e-6),
    Implied("norm.eps", 1e-6),
    Fixed("hidden_act", "silu"),
    Fixed("attention_bias", False),
    ATTENTION_DROPOUT,
    Fixed("moe_layer_freq", 1),
    Rope(temperature=False),
    _Temperature(),
)

_EXPERTS = (
    Key("n_routed_experts", "feed_forward.experts"),
    Key("num_experts_per_tok", "feed_forward.top_k"),
    Key("moe_intermediate_size", "feed_forward.d_ff"),
    Key("n_shared_experts", "feed_forward.shared"),
)

_ALWAYS = {"mixer.kind": "mla", "norm.kind": "rmsnorm", "norm_placement": "pre", "bias": False}


def _limits(spec: ModelSpec) -> list[str]:
    if any(mixture_of(layer).shared == 0 for layer in spec.layers if routes(layer)):
        return ["feed_forward.shared 0: there is always a shared expert"]
    return whole_heads(spec)


DEEPSEEK_V2 = Family(
    name="deepseek_v2",
    architecture="DeepseekV2ForCausalLM",
    parts=(
        *_ATTENTION,
        Fixed("mlp_bias", False),
        _dense_first(
            (
                *_EXPERTS,
                Key("routed_scaling_factor", "feed_forward.scale", absent=1.0),
                Implied("feed_forward.score", "softmax"),
                Implied("feed_forward.normalise", False),
                Fixed("norm_topk_prob", False),
                Fixed("scoring_func", "softmax"),
                Fixed("topk_method", "greedy"),
            ),
            absent=0,
        ),
    ),
    always=_ALWAYS,
    outer=OUTER,
    block=_block,
    limits=_limits,
)

DEEPSEEK_V3 = Family(
    name="deepseek_v3",
    architecture="DeepseekV3ForCausalLM",
    parts=(
        *_ATTENTION,
        Fixed("rope_interleave", True),
        _dense_first(
            (
                *_EXPERTS,
                Key("routed_scaling_factor", "feed_forward.scale", absent=2.5),
                Key("norm_topk_prob", "feed_forward.normalise", absent=True),
                Implied("feed_forward.score", "sigmoid"),
                Implied("feed_forward.bias_rate", 0.001),
                Fixed("scoring_func", "sigmoid"),
                Fixed("topk_method", "noaux_tc"),
                _Groups(),
            ),
            absent=3,
        ),
    ),
    always=_ALWAYS,
    outer=OUTER,
    block=_block,
    limits=_limits,
)
