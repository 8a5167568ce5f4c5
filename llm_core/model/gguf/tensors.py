"""The tensors of a model under the names and in the forms that llama.cpp reads."""

import math
import re
from collections.abc import Iterator

import torch
from torch import Tensor

from llm_core.experiment.layers import LayerSpec
from llm_core.model.decoder import Decoder
from llm_core.model.gguf.architectures import Architecture, attentions, experts, scaling_of
from llm_core.model.mixers.attending import AttendingSpec
from llm_core.model.mixers.attention.spec import Attention
from llm_core.model.mixers.mamba2.spec import Mamba2
from llm_core.model.mixers.mla.spec import LatentAttention
from llm_core.model.positions.rope.module import rope_frequencies
from llm_core.model.positions.rope.spec import Rope

CPU = torch.device("cpu")

Named = Iterator[tuple[str, Tensor]]

_OUTER = {
    "embedding": "token_embd",
    "position.embedding": "position_embd",
    "embedding_norm": "token_embd_norm",
    "norm": "output_norm",
    "head": "output",
}

_BLOCK = {
    "mixer_norm": "attn_norm",
    "mixer_post_norm": "post_attention_norm",
    "feed_forward_norm": "ffn_norm",
    "feed_forward_post_norm": "post_ffw_norm",
    "feed_forward.up": "ffn_up",
    "feed_forward.down": "ffn_down",
    "feed_forward.router": "ffn_gate_inp",
    "feed_forward.shared.down": "ffn_down_shexp",
}

_FALCON_NORMS = {"mixer_norm": "attn_norm_2", "feed_forward_norm": "attn_norm"}
"""The names in Falcon, whose first models had only ``attn_norm``, for both branches."""

_MIXERS = {
    "attention": {"query_norm": "attn_q_norm", "key_norm": "attn_k_norm", "output": "attn_output"},
    "liv": {"gates": "shortconv.in_proj", "convolution": "shortconv.conv", "output": "shortconv.out_proj"},
    "mamba": {
        "input": "ssm_in",
        "convolution": "ssm_conv1d",
        "selected": "ssm_x",
        "dt": "ssm_dt",
        "dt_bias": "ssm_dt.bias",
        "A_log": "ssm_a",
        "D": "ssm_d",
        "norm": "ssm_norm",
        "output": "ssm_out",
    },
}
_MIXERS["mla"] = {
    "query_down": "attn_q_a",
    "query_norm": "attn_q_a_norm",
    "kv_norm": "attn_kv_a_norm",
    "output": "attn_output",
}
_MIXERS["mamba2"] = _MIXERS["mamba"]
"""Kind of mixer → our name below ``mixer`` → theirs."""


@torch.no_grad()
def tensors(model: Decoder, architecture: Architecture) -> Named:
    """Their name and fp32 tensor, in the order of the layers, for every weight of ``model``."""
    layers = {layer.index: layer for layer in model.spec.layers}
    for name, tensor in model.state_dict().items():
        weight = tensor.detach().to("cpu", torch.float32)
        found = re.fullmatch(r"blocks\.(\d+)\.(.*)", name)
        if found is None:
            yield _outer(name, architecture), weight
            continue
        index, rest = int(found[1]), found[2]
        for theirs, part in _of_block(layers[index], rest, weight, architecture):
            yield f"blk.{index}.{theirs}", part.contiguous()
    if model.head is None and architecture.own_head:
        yield "output.weight", model.embedding.weight.detach().to("cpu", torch.float32)
    yield from _rope_factors(model)


def _outer(name: str, architecture: Architecture) -> str:
    module, _, parameter = name.rpartition(".")
    # llama.cpp kept a wrong name of LFM2's last norm.
    theirs = "token_embd_norm" if architecture.name == "lfm2" and module == "norm" else _OUTER[module]
    return f"{theirs}.{parameter}"


def _of_block(layer: LayerSpec, name: str, weight: Tensor, architecture: Architecture) -> Named:
    module, _, parameter = name.rpartition(".")
    if module == "mixer.qkv":
        yield from _queries_keys_values(layer, parameter, weight, architecture)
    elif isinstance(layer.mixer, LatentAttention) and module in _LATENT:
        yield from _latent_attention(layer.mixer, module, weight)
    elif name == "feed_forward.selection_bias":
        yield "exp_probs_b.bias", weight
    elif module == "feed_forward.shared.gate_up":
        gate, up = weight.chunk(2)
        yield from (("ffn_gate_shexp.weight", gate), ("ffn_up_shexp.weight", up))
    elif "gate_up" in name:
        yield from _gate_and_up(layer, parameter, weight, architecture)
    elif name == "feed_forward.down" and experts(layer):
        yield "ffn_down_exps.weight", weight.mT
    elif architecture.name == "falcon" and module in _FALCON_NORMS:
        yield f"{_FALCON_NORMS[module]}.{parameter}", weight
    elif module in _BLOCK:
        yield f"{_BLOCK[module]}.{parameter}", weight
    else:
        yield from _of_mixer(layer, name.removeprefix("mixer."), weight)


def _queries_keys_values(layer: LayerSpec, parameter: str, weight: Tensor, architecture: Architecture) -> Named:
    mixer = layer.mixer
    assert isinstance(mixer, Attention)
    n_heads, n_kv_heads, head_dim = mixer.heads()
    q, k, v = weight.split([n_heads * head_dim, n_kv_heads * head_dim, n_kv_heads * head_dim])
    if not mixer.qk_norm:
        q = q * _query_factor(mixer)
    if architecture.pairs:
        q, k = _in_pairs(q, head_dim), _in_pairs(k, head_dim)
    if architecture.fused:
        yield f"attn_qkv.{parameter}", torch.cat((q, k, v))
    else:
        yield from ((f"attn_{name}.{parameter}", part) for name, part in (("q", q), ("k", k), ("v", v)))


def _latent_attention(mixer: LatentAttention, module: str, weight: Tensor) -> Named:
    heads, inputs = mixer.n_heads, weight.shape[1]
    if module == "mixer.query_up":
        nope, rope = weight.view(heads, -1, inputs).split([mixer.nope_dim, mixer.rope_dim], dim=1)
        rope = _in_pairs(rope.reshape(-1, inputs), mixer.rope_dim).view(rope.shape)
        rows = torch.cat((nope, rope), dim=1).view(-1, inputs) * _query_factor(mixer)
        yield f"attn_q{'' if mixer.q_rank is None else '_b'}.weight", rows
    elif module == "mixer.kv_down":
        latent, rope = weight.split([mixer.kv_rank, mixer.rope_dim])
        yield "attn_kv_a_mqa.weight", torch.cat((latent, _in_pairs(rope, mixer.rope_dim)))
    else:
        keys, values = weight.split([heads * mixer.nope_dim, heads * mixer.value_dim])
        yield "attn_k_b.weight", keys.view(heads, mixer.nope_dim, inputs).mT
        yield "attn_v_b.weight", values.view(heads, mixer.value_dim, inputs)


_LATENT = ("mixer.query_up", "mixer.kv_down", "mixer.kv_up")


def _query_factor(mixer: AttendingSpec) -> float:
    """The factor of queries that gives llama.cpp's scale, 1 / sqrt(head_dim), the effect of the mixer's own scale."""
    return 1.0 if mixer.scale is None else mixer.scale * math.sqrt(mixer.head_widths()[0])


def _in_pairs(rows: Tensor, head_dim: int) -> Tensor:
    """Rows i and i + half of each head become rows 2i and 2i + 1. RoPE rotates them together."""
    by_half = rows.view(-1, 2, head_dim // 2, *rows.shape[1:])
    return by_half.transpose(1, 2).reshape(rows.shape)


def _gate_and_up(layer: LayerSpec, parameter: str, weight: Tensor, architecture: Architecture) -> Named:
    if experts(layer):
        gate, up = weight.mT.chunk(2, dim=1)  # (experts, 2 · hidden, in)
        yield from (("ffn_gate_exps.weight", gate), ("ffn_up_exps.weight", up))
    elif architecture.fused:
        yield f"ffn_up.{parameter}", weight
    else:
        gate, up = weight.chunk(2)
        yield from ((f"ffn_gate.{parameter}", gate), (f"ffn_up.{parameter}", up))


def _of_mixer(layer: LayerSpec, name: str, weight: Tensor) -> Named:
    mixer, names = layer.mixer, _MIXERS[layer.mixer.kind]
    if name in names:  # a parameter of the mixer itself
        if name == "A_log":
            weight = -weight.exp()
        if isinstance(mixer, Mamba2) and name in ("A_log", "D"):
            weight = weight[:, None]
        yield names[name], weight
        return
    module, _, parameter = name.rpartition(".")
    if isinstance(mixer, Attention) and module == "query_norm":
        weight = weight * _query_factor(mixer)
    if isinstance(mixer, Mamba2) and module == "norm":
        weight = weight.view(mixer.groups, -1)
    yield f"{names[module]}.{parameter}", weight


def _rope_factors(model: Decoder) -> Named:
    """By how much Llama 3's scaling slows each angle down."""
    mixer = next((mixer for mixer in attentions(model.spec) if scaling_of(mixer)), None)
    if mixer is None or not isinstance(mixer.position, Rope):
        return
    scaling, channels = scaling_of(mixer), mixer.rotated_channels()
    if scaling is not None and scaling.kind == "llama3":
        plain, scaled = (rope_frequencies(channels, mixer.position.theta, kind, CPU) for kind in (None, scaling))
        yield "rope_freqs.weight", plain / scaled
