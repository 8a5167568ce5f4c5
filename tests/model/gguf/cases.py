"""Small models of every family that llama.cpp has, and a tokenizer for them."""

from pathlib import Path
from typing import Any, NamedTuple

import transformers

from llm_core.experiment.model import ModelSpec
from llm_core.experiment.tokens import TokenizerSpec
from llm_core.model.decoder import Decoder
from llm_core.model.hf.families import family_named
from llm_core.tokens.learn import train_tokenizer
from tests.model import shapes
from tests.model.hf import parity

VOCAB = 320
TEXTS = ["The harbour is grey; rain falls.", "We'll count: 1, 22, 333 and 4444.", "  def f(x):\n    return x\n"] * 3


class Change(NamedTuple):
    """What a case of ``tests.model.hf.parity`` changes, so that llama.cpp can have it."""

    case: str
    changes: dict[str, Any]


_YARN = {**parity._YARN, "beta_fast": 32.0}
CHANGES = {
    "Mistral, no window": Change("Mistral, window 7", {"sliding_window": None}),
    "Qwen3": Change("Qwen3, windows by layer", {"use_sliding_window": False, "layer_types": None}),
    "Qwen2": Change("Qwen2, windows above", {"use_sliding_window": False}),
    "Qwen3-MoE": Change("Qwen3-MoE, one layer dense", {"mlp_only_layers": [], "norm_topk_prob": True}),
    "Llama, YaRN": Change("Llama, YaRN, wide heads", {"rope_parameters": _YARN}),
    "Qwen3, YaRN": Change(
        "Qwen3, windows by layer", {"use_sliding_window": False, "layer_types": None, "rope_parameters": _YARN}
    ),
    "Llama, wide heads": Change("Llama, YaRN, wide heads", {"rope_parameters": parity._PLAIN}),
    "OLMo 3, windows": Change(
        "OLMo 3, windows, YaRN without",
        {"rope_parameters": {"sliding_attention": {**parity._PLAIN, "rope_theta": 1e3}, "full_attention": _YARN}},
    ),
    "DeepSeek V2, YaRN of the paper": Change(
        "DeepSeek V2, YaRN", {"q_lora_rank": 24, "rope_parameters": {**parity._MLA_YARN, "beta_fast": 32.0}}
    ),
    "OLMoE, all heads": Change("OLMoE", {"num_key_value_heads": 4}),
}


def specs() -> dict[str, ModelSpec]:
    """Name → the model of each case, those that llama.cpp can't have included."""
    cases = {case.name: (case.kind, case.config) for case in parity.CASES}
    for name, change in CHANGES.items():
        kind, config = cases[change.case]
        cases[name] = (kind, {**config, **change.changes})
    return {name: spec_of(kind, config) for name, (kind, config) in cases.items()}


def spec_of(kind: str, config: dict[str, Any]) -> ModelSpec:
    """The specification of a configuration of transformers."""
    whole = transformers.AutoConfig.for_model(kind, **config, vocab_size=VOCAB).to_dict()
    return family_named(kind).read(whole)


def model(spec: ModelSpec) -> Decoder:
    """A model whose every part shows in the logits."""
    return shapes.model(spec, vocab_size=VOCAB).eval()


def tokenizer(folder: Path, **settings: Any) -> Path:
    """A byte-level tokenizer of at most ``VOCAB`` entries."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "tokenizer.json"
    train_tokenizer(TEXTS, TokenizerSpec(vocab_size=VOCAB - 10, min_frequency=2, **settings)).save(str(path))
    return path
