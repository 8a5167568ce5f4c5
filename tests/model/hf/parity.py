"""The same weights in ``transformers`` and here, architecture by architecture: how far apart are the logits?

``python -m benchmarks.imports`` prints the table; the tests hold its figures to their bounds.
Weights are random and large, so that every part of an architecture shows in the logits; everything is fp32.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn

from llm_core.experiment.model import ModelSpec
from llm_core.model.build import build_model
from llm_core.model.decoder import Decoder
from llm_core.model.generate import Sampling, generate
from llm_core.model.hf.exporting import export_folder
from llm_core.model.hf.importing import import_folder
from tests.model import shapes

VOCAB = shapes.VOCAB
LENGTH = 40
NEW_TOKENS = 16

transformers.utils.logging.disable_progress_bar()
transformers.utils.logging.set_verbosity_error()

_DENSE = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
_SCALED = {"rope_theta": 1000.0, "factor": 4.0, "original_max_position_embeddings": 256}
_LLAMA3 = {**_SCALED, "rope_type": "llama3", "low_freq_factor": 1.0, "high_freq_factor": 8.0}
_YARN = {**_SCALED, "rope_type": "yarn", "beta_fast": 8.0, "beta_slow": 1.0}
_PLAIN = {"rope_type": "default", "rope_theta": 300.0}
_NEOX = {**_DENSE, "rope_parameters": {**_PLAIN, "partial_rotary_factor": 0.5}}
_FALCON = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4}
_MIXTURE = {"num_experts": 4, "num_experts_per_tok": 2}
_MLA = {
    **_DENSE,
    "num_key_value_heads": 4,
    "kv_lora_rank": 12,
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 6,
    "v_head_dim": 10,
    "first_k_dense_replace": 1,
}
_EXPERTS = {"n_routed_experts": 6, "num_experts_per_tok": 3, "moe_intermediate_size": 20, "n_shared_experts": 2}
_MLA_YARN = {**_YARN, "mscale": 0.707, "mscale_all_dim": 0.707}


@dataclass(frozen=True)
class Case:
    """One architecture: ``config`` makes their model, ``like`` one of ours with other weights, which they load.

    ``kind``: their ``model_type``.
    """

    name: str
    kind: str
    config: dict[str, Any]
    like: ModelSpec | None = None


CASES = [
    Case("Llama", "llama", {**_DENSE, "rope_theta": 500_000.0}),
    Case(
        "Llama, biases and tied",
        "llama",
        {**_DENSE, "attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True},
    ),
    Case("Llama, llama3 scaling", "llama", {**_DENSE, "rope_parameters": _LLAMA3}),
    Case("Llama, YaRN, wide heads", "llama", {**_DENSE, "head_dim": 12, "rope_parameters": _YARN}),
    Case("Mistral, window 7", "mistral", {**_DENSE, "sliding_window": 7}),
    Case(
        "Qwen3, windows by layer",
        "qwen3",
        {
            **_DENSE,
            "head_dim": 16,
            "use_sliding_window": True,
            "sliding_window": 7,
            "layer_types": ["sliding_attention", "full_attention"] * 2,
        },
    ),
    Case(
        "Qwen2, windows above",
        "qwen2",
        {**_DENSE, "use_sliding_window": True, "sliding_window": 7, "max_window_layers": 2},
    ),
    Case(
        "Phi-3, half of a head turned", "phi3", {**_DENSE, "rope_parameters": {**_PLAIN, "partial_rotary_factor": 0.5}}
    ),
    Case(
        "Granite",
        "granite",
        {
            **_DENSE,
            "embedding_multiplier": 3.0,
            "attention_multiplier": 0.2,
            "residual_multiplier": 0.4,
            "logits_scaling": 0.7,
        },
    ),
    Case("OLMo 2", "olmo2", _DENSE),
    Case(
        "OLMo 3, windows, YaRN without",
        "olmo3",
        {**_DENSE, "sliding_window": 7, "rope_parameters": {"sliding_attention": _PLAIN, "full_attention": _YARN}},
    ),
    Case("SmolLM3, every 4th layer NoPE", "smollm3", _DENSE),
    Case(
        "Gemma 2, softcaps, windows",
        "gemma2",
        {
            **_DENSE,
            "head_dim": 12,
            "query_pre_attn_scalar": 20,
            "sliding_window": 7,
            "attn_logit_softcapping": 5.0,
            "final_logit_softcapping": 10.0,
        },
    ),
    Case(
        "Gemma 3, two bases",
        "gemma3_text",
        {
            **_DENSE,
            "num_hidden_layers": 6,
            "head_dim": 12,
            "query_pre_attn_scalar": 20,
            "sliding_window": 7,
            "rope_parameters": {
                "sliding_attention": _PLAIN,
                "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 5000.0},
            },
        },
    ),
    Case(
        "GPT-2, learned positions",
        "gpt2",
        {"n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 64},
    ),
    Case(
        "MPT, ALiBi, clipped",
        "mpt",
        {"d_model": 48, "n_heads": 6, "n_layers": 3, "max_seq_len": 64, "attn_config": {"clip_qkv": 2.0}},
    ),
    Case("GPT-NeoX (Pythia)", "gpt_neox", _NEOX),
    Case(
        "GPT-NeoX, branches in turn, tied",
        "gpt_neox",
        {**_NEOX, "use_parallel_residual": False, "tie_word_embeddings": True, "hidden_act": "gelu_fast"},
    ),
    Case("BLOOM", "bloom", {"hidden_size": 48, "n_head": 6, "n_layer": 3}),
    Case("Falcon-7B, one norm, one head of keys", "falcon", _FALCON),
    Case("Falcon-40B, grouped keys", "falcon", {**_FALCON, "new_decoder_architecture": True, "num_kv_heads": 2}),
    Case(
        "Falcon2-11B, one norm, grouped keys",
        "falcon",
        {**_FALCON, "new_decoder_architecture": True, "num_kv_heads": 2, "num_ln_in_parallel_attn": 1},
    ),
    Case(
        "Falcon, branches in turn, biases",
        "falcon",
        {**_FALCON, "bias": True, "multi_query": False, "parallel_attn": False, "ffn_hidden_size": 48},
    ),
    Case(
        "Qwen3-MoE, one layer dense",
        "qwen3_moe",
        {**_DENSE, **_MIXTURE, "moe_intermediate_size": 20, "mlp_only_layers": [1]},
    ),
    Case("OLMoE", "olmoe", {**_DENSE, **_MIXTURE}),
    Case("Mixtral, 2 of 4 experts", "mixtral", {**_DENSE, "num_local_experts": 4}),
    Case(
        "DeepSeek V2, query latent",
        "deepseek_v2",
        {**_MLA, **_EXPERTS, "q_lora_rank": 24, "routed_scaling_factor": 2.0},
    ),
    Case("DeepSeek V2, YaRN", "deepseek_v2", {**_MLA, **_EXPERTS, "q_lora_rank": None, "rope_parameters": _MLA_YARN}),
    Case("DeepSeek V3", "deepseek_v3", {**_MLA, **_EXPERTS, "q_lora_rank": 24, "n_group": 1, "topk_group": 1}),
    Case(
        "LFM2",
        "lfm2",
        {
            **_DENSE,
            "block_auto_adjust_ff_dim": False,
            "layer_types": ["conv", "full_attention", "conv", "full_attention"],
        },
    ),
    Case("Mamba", "mamba", {"hidden_size": 32, "num_hidden_layers": 3, "state_size": 6}),
    Case(
        "Mamba-2",
        "mamba2",
        {
            "hidden_size": 32,
            "num_hidden_layers": 3,
            "state_size": 8,
            "head_dim": 8,
            "num_heads": 8,
            "n_groups": 2,
            "chunk_size": 16,
        },
    ),
    Case("RWKV-4", "rwkv", {"hidden_size": 32, "num_hidden_layers": 3, "intermediate_size": 48}),
]


@dataclass
class Parity:
    """What was found of one architecture.

    ``imported``: the largest difference of logits between their model and ours with its weights. ``exported``: between
    another model of ours and theirs with its weights. ``greedy``: whether both ways generate the same tokens, ours with
    its state, theirs with its cache. ``spread``: standard deviation of the logits, which the differences belong to.
    """

    name: str
    imported: float
    exported: float
    greedy: bool
    returned: bool
    spread: float
    problems: list[str] = field(default_factory=list)


def their_model(case: Case) -> nn.Module:
    """A model of ``transformers`` with large random weights."""
    special = {"vocab_size": VOCAB, "bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
    config = transformers.AutoConfig.for_model(case.kind, **case.config, **special)
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager").float().eval()
    enlarge(model, torch.Generator().manual_seed(1))
    return model


@torch.no_grad()
def enlarge(model: nn.Module, generator: torch.Generator) -> None:
    """Draw all weights anew, large enough for every part to show in the logits."""
    for name, parameter in sorted(model.named_parameters()):
        if name.endswith("A_log"):
            parameter.uniform_(-1.0, 1.5, generator=generator)
        elif parameter.ndim >= 2:
            parameter.normal_(0.0, 0.2, generator=generator)
        elif name.endswith("bias") or model.config.model_type in ("gemma2", "gemma3_text"):
            parameter.uniform_(-0.5, 0.5, generator=generator)
        else:
            parameter.uniform_(0.5, 1.5, generator=generator)
    for name, buffer in model.named_buffers():
        if name.endswith("e_score_correction_bias"):
            buffer.uniform_(-0.3, 0.3, generator=generator)


def imported_model(folder: Path) -> Decoder:
    """Our model with the weights of a folder."""
    found = import_folder(folder)
    model = build_model(found.spec, found.vocab_size, device="meta")
    model.load_state_dict(found.weights, assign=True)
    return model.eval()


def their_loaded(folder: Path) -> nn.Module:
    """Their model as they load a folder of ours."""
    model, report = transformers.AutoModelForCausalLM.from_pretrained(
        folder, attn_implementation="eager", output_loading_info=True, trust_remote_code=True
    )
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys")), report
    assert model.dtype == torch.float32
    return model.eval()


@torch.no_grad()
def logits_of_theirs(model: nn.Module, tokens_BT: Tensor) -> Tensor:
    return model(input_ids=tokens_BT, use_cache=False).logits


@torch.no_grad()
def logits_of_ours(model: Decoder, tokens_BT: Tensor) -> Tensor:
    logits: Tensor = model(tokens_BT)
    return logits


def same_greedy(ours: Decoder, theirs: nn.Module, prompts_BT: Tensor) -> bool:
    """Whether both continue by the same likeliest tokens."""
    # With a state, their RWKV mixes up the rows of a batch.
    together = 1 if theirs.config.model_type == "rwkv" else len(prompts_BT)
    made = [
        row[prompts_BT.shape[1] :].tolist()
        for batch_BT in prompts_BT.split(together)
        for row in theirs.generate(
            batch_BT, attention_mask=torch.ones_like(batch_BT), do_sample=False, max_new_tokens=NEW_TOKENS
        )
    ]
    return generate(ours, prompts_BT, Sampling(NEW_TOKENS)) == made


def difference(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().max())


def parity(case: Case, folder: Path) -> Parity:
    """Their weights here, and ours there."""
    tokens_BT = shapes.tokens(3, LENGTH)
    theirs = their_model(case)
    theirs.save_pretrained(folder / "theirs")
    ours = imported_model(folder / "theirs")
    wanted_BTV = logits_of_theirs(theirs, tokens_BT)
    imported = difference(logits_of_ours(ours, tokens_BT), wanted_BTV)
    greedy = same_greedy(ours, theirs, tokens_BT[:, :9])

    other = shapes.model(ours.spec, seed=2).eval()
    export_folder(other, folder / "ours", sequence_length=64)
    loaded = their_loaded(folder / "ours")
    exported = difference(logits_of_ours(other, tokens_BT), logits_of_theirs(loaded, tokens_BT))
    greedy = greedy and same_greedy(other, loaded, tokens_BT[:, :9])

    back = imported_model(folder / "ours").state_dict()
    returned = all(torch.allclose(back[name], tensor, rtol=0, atol=2e-7) for name, tensor in other.state_dict().items())
    return Parity(case.name, imported, exported, greedy, returned, float(wanted_BTV.std()))
