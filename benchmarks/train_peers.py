"""The same model three times: ours, `transformers`', `litgpt`'s, with equal weights, for `benchmarks.train`."""

import importlib.util
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from llm_core.experiment.model import ModelSpec
from llm_core.model.build import build_model
from llm_core.model.feed_forwards.gated.spec import SwiGLU
from llm_core.model.mixers.attention.spec import Attention
from llm_core.model.positions.rope.spec import Rope

GATE, UP = "feed_forward.gate", "feed_forward.up"
"""The halves of ``feed_forward.gate_up``."""

HF_NAMES = {
    "mixer.output": "self_attn.o_proj",
    "mixer.query_norm": "self_attn.q_norm",
    "mixer.key_norm": "self_attn.k_norm",
    GATE: "mlp.gate_proj",
    UP: "mlp.up_proj",
    "feed_forward.down": "mlp.down_proj",
    "mixer_norm": "input_layernorm",
    "feed_forward_norm": "post_attention_layernorm",
}
LITGPT_NAMES = {
    "mixer.qkv": "attn.qkv",
    "mixer.output": "attn.proj",
    "mixer.query_norm": "attn.norm_q",
    "mixer.key_norm": "attn.norm_k",
    GATE: "mlp.fc_1",
    UP: "mlp.fc_2",
    "feed_forward.down": "mlp.proj",
    "mixer_norm": "norm_1",
    "feed_forward_norm": "norm_2",
}


class Batch(NamedTuple):
    """(B, T) each, on the device."""

    tokens: Tensor
    targets: Tensor
    documents: Tensor


class Contender(NamedTuple):
    """A model, and the mean loss of a batch by it, in nats."""

    name: str
    model: nn.Module
    loss: Callable[[Batch], Tensor]


def ours(spec: ModelSpec, vocab_size: int, device: torch.device, compiled: bool) -> Contender:
    """Our model; compiled as the trainer does it, block by block."""
    model = build_model(spec, vocab_size, device=device, generator=torch.Generator(device).manual_seed(0))
    if compiled:
        for block in model.blocks:
            block.compile()

    def loss(batch: Batch) -> Tensor:
        objective: Tensor = model(batch.tokens, batch.targets, batch.documents).objective
        return objective / batch.targets.numel()

    return Contender("ours", model, loss)


def transformers(spec: ModelSpec, vocab_size: int, weights: dict[str, Tensor], compiled: bool) -> Contender:
    """Llama, or with QK-norm Qwen3, compiled as a whole; SDPA. A document mask is given as a boolean (B, 1, T, T)."""
    import transformers as hf

    attention, rope = _attention(spec)
    n_heads, n_kv_heads, head_dim = attention.heads()
    kind = (hf.Qwen3Config, hf.Qwen3ForCausalLM) if attention.qk_norm else (hf.LlamaConfig, hf.LlamaForCausalLM)
    config = kind[0](
        vocab_size=vocab_size,
        hidden_size=spec.d_model,
        intermediate_size=_width(spec),
        num_hidden_layers=spec.n_layers,
        num_attention_heads=n_heads,
        num_key_value_heads=n_kv_heads,
        head_dim=head_dim,
        rms_norm_eps=spec.norm.eps,
        rope_parameters={"rope_type": "default", "rope_theta": rope.theta},
        tie_word_embeddings=spec.tie_embeddings,
        max_position_embeddings=8192,
        use_cache=False,
        attn_implementation="sdpa",
    )
    device = weights["embedding.weight"].device
    with device:
        model = kind[1](config)
    renamed = {"model.embed_tokens.weight": weights["embedding.weight"], "model.norm.weight": weights["norm.weight"]}
    renamed["lm_head.weight"] = weights.get("head.weight", weights["embedding.weight"])
    renamed |= _layers(spec, weights, "model.layers", HF_NAMES)
    for layer in spec.layers:
        parts = _qkv(spec, weights[f"blocks.{layer.index}.mixer.qkv.weight"])
        for (name, _), part in zip(_parts(spec).items(), parts, strict=True):
            renamed[f"model.layers.{layer.index}.self_attn.{name}_proj.weight"] = part
    model.load_state_dict(renamed)
    called = torch.compile(model) if compiled else model

    def loss(batch: Batch) -> Tensor:
        mask = None
        if spec.document_mask:
            mask = (batch.documents[:, :, None] == batch.documents[:, None, :]).tril()[:, None]
        mean: Tensor = called(batch.tokens, attention_mask=mask, labels=batch.targets, shift_labels=batch.targets).loss
        return mean

    return Contender("transformers", model, loss)


def litgpt(spec: ModelSpec, vocab_size: int, weights: dict[str, Tensor], compiled: bool) -> Contender:
    """Its GPT with Llama's settings and its chunked loss, compiled as a whole. It knows no document mask."""
    from litgpt.config import Config
    from litgpt.model import GPT
    from litgpt.utils import chunked_cross_entropy

    attention, rope = _attention(spec)
    n_heads, n_kv_heads, head_dim = attention.heads()
    config = Config(
        name="Llama",
        block_size=8192,
        vocab_size=vocab_size,
        padded_vocab_size=vocab_size,
        n_layer=spec.n_layers,
        n_embd=spec.d_model,
        n_head=n_heads,
        n_query_groups=n_kv_heads,
        head_size=head_dim,
        intermediate_size=_width(spec),
        norm_class_name="RMSNorm",
        norm_eps=spec.norm.eps,
        norm_qk=attention.qk_norm,
        rotary_percentage=1.0,
        rope_base=int(rope.theta),
        parallel_residual=False,
        bias=False,
        mlp_class_name="LLaMAMLP",
    )
    with weights["embedding.weight"].device:
        model = GPT(config)
    if spec.tie_embeddings:
        model.lm_head.weight = model.transformer.wte.weight
    head = weights.get("head.weight", weights["embedding.weight"])
    renamed = {"transformer.wte.weight": weights["embedding.weight"], "lm_head.weight": head}
    renamed["transformer.ln_f.weight"] = weights["norm.weight"]
    renamed |= _layers(spec, weights, "transformer.h", LITGPT_NAMES)
    model.load_state_dict(renamed)
    called = torch.compile(model) if compiled else model

    def loss(batch: Batch) -> Tensor:
        mean: Tensor = chunked_cross_entropy(called(batch.tokens), batch.targets)
        return mean

    return Contender("litgpt", model, loss)


def plain_cross_entropy(model: nn.Module, batch: Batch) -> Tensor:
    """Our model with all logits at once, and torch's loss in fp32."""
    logits_BTV = model(batch.tokens, document_ids_BT=batch.documents)
    return functional.cross_entropy(logits_BTV.flatten(0, 1).float(), batch.targets.flatten())


def missing(names: tuple[str, ...]) -> list[str]:
    """Those of the packages that are not installed."""
    return [name for name in names if importlib.util.find_spec(name) is None]


def _attention(spec: ModelSpec) -> tuple[Attention, Rope]:
    """The mixer of all layers, resolved, and its position; others have no like among peers."""
    mixer = spec.layers[0].mixer
    assert isinstance(mixer, Attention)
    assert isinstance(mixer.position, Rope)
    return mixer, mixer.position


def _width(spec: ModelSpec) -> int:
    assert isinstance(spec.feed_forward, SwiGLU)
    return spec.feed_forward.d_ff


def _parts(spec: ModelSpec) -> dict[str, int]:
    heads, kv_heads, channels = _attention(spec)[0].heads()
    return {"q": heads * channels, "k": kv_heads * channels, "v": kv_heads * channels}


def _qkv(spec: ModelSpec, weight: Tensor) -> tuple[Tensor, ...]:
    return weight.split(tuple(_parts(spec).values()))


def _layers(spec: ModelSpec, weights: dict[str, Tensor], prefix: str, names: dict[str, str]) -> dict[str, Tensor]:
    """The weights of all layers that ``names`` (ours → theirs) are about, by their names; a model may lack some."""
    renamed = {}
    for layer in spec.layers:
        own = f"blocks.{layer.index}."
        halves = weights[own + "feed_forward.gate_up.weight"].chunk(2)
        there = weights | {f"{own}{name}.weight": half for name, half in zip((GATE, UP), halves, strict=True)}
        for name, other in names.items():
            if f"{own}{name}.weight" in there:
                renamed[f"{prefix}.{layer.index}.{other}.weight"] = there[f"{own}{name}.weight"]
    return renamed
