"""Techniques that make another model: attention, norms, the residual stream, the head."""

from typing import Any

from llm_core.optimizations.shapes import attention, several_heads
from llm_core.optimizations.technique import Change, Overrides, Recipe, Technique

_ATTENTION = "llm_core.model.mixers.attention.module"
_BLOCK = "llm_core.model.block:Block"
_TABLES: dict[str, Any] = {"init": {"embedding_std": None, "head_std": None}}
"""One matrix can't have the initial weights of two, so both sides have those of a matrix."""


def _attention(**fields: Any) -> Change:
    def changed(recipe: Recipe) -> Overrides:
        attention(recipe)
        return {"model": {"mixer": fields}}

    return changed


def _grouped(recipe: Recipe) -> Overrides:
    heads = several_heads(recipe)
    given = attention(recipe).n_kv_heads
    groups = given if given is not None and 1 < given < heads else heads // 2
    if heads % groups or groups in (1, heads):
        raise ValueError(f"{heads} query heads have no groups between one and {heads} heads of keys and values")
    return {"model": {"mixer": {"n_kv_heads": groups}}}


def _multi(recipe: Recipe) -> Overrides:
    return {"model": {"mixer": {"n_kv_heads": several_heads(recipe)}}}


def _single(recipe: Recipe) -> Overrides:
    several_heads(recipe)
    return {"model": {"mixer": {"n_kv_heads": 1}}}


def _window(recipe: Recipe) -> Overrides:
    attention(recipe)
    return {"model": {"mixer": {"window": max(1, recipe.training.sequence_length // 4)}}}


def _own_kv(recipe: Recipe) -> Overrides:
    attention(recipe)
    return {"model": {"pattern": [], "mixer": {"share_kv": False}}}


def _shared_kv(recipe: Recipe) -> Overrides:
    attention(recipe)
    if recipe.model.n_layers < 2:
        raise ValueError("the recipe has one layer")
    return {"model": {"pattern": [{}, {"mixer": {"share_kv": True}, "times": recipe.model.n_layers - 1}]}}


def _placement(name: str, use: str, skip: str, source: str) -> Technique:
    return Technique(
        title=f"Norms: {name}",
        versus=f"pre → {name}",
        off={"model": {"norm_placement": "pre"}},
        on={"model": {"norm_placement": name}},
        effect="changes",
        code=(_BLOCK,),
        part=True,
        upkeep="Low.",
        use=use,
        skip=skip,
        source=source,
    )


MODEL: dict[str, Technique] = {
    "gqa": Technique(
        title="Grouped-query attention",
        versus="keys and values per query head → per group of heads",
        off=_multi,
        on=_grouped,
        effect="changes",
        code=(_ATTENTION,),
        part=True,
        upkeep="Low.",
        use="Models that generate: the cache shrinks by the size of a group.",
        skip="Few heads, or models that only score text.",
        source="Ainslie et al., 2023",
    ),
    "mqa": Technique(
        title="Multi-query attention",
        versus="keys and values per query head → one head for all",
        off=_multi,
        on=_single,
        effect="changes",
        code=(_ATTENTION,),
        part=True,
        upkeep="Low.",
        use="The cache must be as small as it can be.",
        skip="Quality matters more: groups lose less. Tensor parallelism can't split one head.",
        source="Shazeer, 2019",
    ),
    "qk_norm": Technique(
        title="QK-norm",
        versus="none → queries and keys normalised per head",
        off=_attention(qk_norm=False),
        on=_attention(qk_norm=True),
        effect="changes",
        code=(_ATTENTION,),
        part=True,
        upkeep="Low.",
        use="High learning rates, half precision, long runs: scores can't explode.",
        skip="Exports to Llama, which has none.",
        source="Dehghani et al., 2023",
    ),
    "window": Technique(
        title="Sliding window",
        versus="all previous tokens → a quarter of the sequence",
        off=_attention(window=None),
        on=_window,
        effect="changes",
        code=("llm_core.model.masks",),
        part=True,
        upkeep="Medium. Each backend has its own mask.",
        use="Long sequences, in most but not all layers.",
        skip="Short sequences: masks cost more than hidden keys save.",
        source="Beltagy et al., 2020",
    ),
    "shared_kv": Technique(
        title="Shared keys and values",
        versus="own keys and values per layer → those of the first layer",
        off=_own_kv,
        on=_shared_kv,
        effect="changes",
        code=(_ATTENTION,),
        part=True,
        upkeep="Medium. Layers depend on others, and few programs load such models.",
        use="The cache limits how many answers run at once.",
        skip="The model must load elsewhere.",
        source="Brandon et al., 2024",
    ),
    "value_embedding": Technique(
        title="Value embeddings",
        versus="none → a table of values per layer",
        off=_attention(value_embedding=None),
        on=_attention(value_embedding={}),
        effect="changes",
        code=("llm_core.model.value_embedding",),
        upkeep="Medium. A table per layer, which exports do not know.",
        use="Memory is cheap: the tables cost no FLOPs.",
        skip="Large vocabularies on full devices; exports.",
        source="Zhou et al., 2024",
    ),
    "attention_softcap": Technique(
        title="Softcap of attention scores",
        versus="none → 50",
        off=_attention(softcap=None),
        on=_attention(softcap=50.0),
        effect="changes",
        code=("llm_core.model.eager",),
        part=True,
        upkeep="Medium. Fused kernels do not have it.",
        use="Imported Gemma 2 models.",
        skip="New models: QK-norm does the same without losing the fused kernels.",
        source="Gemma Team, 2024",
    ),
    "rmsnorm": Technique(
        title="RMSNorm",
        versus="LayerNorm → RMSNorm",
        off={"model": {"norm": "layernorm"}},
        on=lambda recipe: {"model": {"norm": recipe.model.norm if recipe.model.norm.kind == "rmsnorm" else "rmsnorm"}},
        effect="changes",
        code=("llm_core.model.norms.module:RMSNorm", "llm_core.model.norms.module:_RMSNormOnCPU"),
        upkeep="Low. On CPUs it has a backward pass by hand.",
        use="The default.",
        skip="Imported models with LayerNorm.",
        source="Zhang and Sennrich, 2019",
        components=("NORMS.rmsnorm",),
    ),
    "sandwich_norms": _placement(
        "sandwich", "Deep models whose branches grow.", "Small models: each norm costs time.", "Gemma Team, 2024"
    ),
    "reordered_norms": _placement(
        "reordered", "High rates that make pre-norm unstable.", "Exports to Llama.", "OLMo Team, 2025"
    ),
    "post_norms": _placement(
        "post", "Comparisons with the original Transformer.", "Deep models: they need long warm-ups.",
        "Vaswani et al., 2017",
    ),
    "weight_tying": Technique(
        title="Weight tying",
        versus="a head of its own → the embedding's matrix",
        off={"model": {"tie_embeddings": False, **_TABLES}},
        on={"model": {"tie_embeddings": True, **_TABLES}},
        effect="changes",
        code=("llm_core.model.decoder:Decoder",),
        part=True,
        upkeep="Low. Embedding and head can't have rates of their own.",
        use="Small models, where the vocabulary holds much of the parameters.",
        skip="Large models, and small ones that are tuned for loss per step.",
        source="Press and Wolf, 2017",
    ),
    "document_mask": Technique(
        title="Document mask",
        versus="documents see each other → they do not",
        off={"model": {"document_mask": False}},
        on={"model": {"document_mask": True}},
        effect="changes",
        code=("llm_core.model.masks", "llm_core.model.varlen:document_offsets"),
        upkeep="Medium. Each mixer and each kernel must know documents.",
        use="Short documents in long sequences.",
        skip="Kernels without masks are much faster on the device.",
        source="Dubey et al., 2024",
    ),
    "multi_token": Technique(
        title="Multi-token prediction",
        versus="next token → one more token ahead",
        off={"model": {"multi_token": None}},
        on={"model": {"multi_token": {"depth": 1}}},
        effect="changes",
        code=("llm_core.model.multi_token",),
        upkeep="Medium. A block more, which exports leave out.",
        use="Large models, or speculative decoding.",
        skip="Small models: it costs a block and the head once more.",
        source="DeepSeek-AI, 2024",
    ),
    "logit_softcap": Technique(
        title="Softcap of logits",
        versus="none → 30",
        off={"model": {"logit_softcap": None}},
        on={"model": {"logit_softcap": 30.0}},
        effect="changes",
        code=("llm_core.model.cross_entropy:_softmax",),
        part=True,
        upkeep="Low. The loss and the head both need it.",
        use="Heads of their own at high rates.",
        skip="Tied heads with stable losses.",
        source="Gemma Team, 2024",
    ),
    "embedding_norm": Technique(
        title="Norm after the embedding",
        versus="none → one norm",
        off={"model": {"embedding_norm": False}},
        on={"model": {"embedding_norm": True}},
        effect="changes",
        code=("llm_core.model.decoder:Decoder",),
        part=True,
        upkeep="Low. Few programs load such models.",
        use="Fast starts: the embedding can move far in a few steps.",
        skip="Exports to Llama.",
        source="Peng et al., 2023",
    ),
    "ngram_embedding": Technique(
        title="N-gram embeddings",
        versus="none → a table of 8,192 rows for pairs of tokens",
        off={"model": {"ngram_embedding": None}},
        on={"model": {"ngram_embedding": {"rows": 8192}}},
        effect="changes",
        code=("llm_core.model.ngram_embedding",),
        upkeep="Medium. Exports do not know it, and generation needs the last tokens.",
        use="Memory is cheap: tables cost no products.",
        skip="Exports; devices that are full.",
        source="Huang et al., 2025",
    ),
    "stream_scales": Technique(
        title="Scales of the residual stream",
        versus="none → two learned numbers per layer",
        off={"model": {"stream_scales": None}},
        on={"model": {"stream_scales": {"residual": [1.0, 1.0], "input": [0.1, 0.1]}}},
        effect="changes",
        code=("llm_core.model.block:StreamScales", "llm_core.model.block:_between"),
        upkeep="Medium. They need learning rates of their own, and exports do not know them.",
        use="Short runs that are tuned for loss per step.",
        skip="Exports.",
        source="Karpathy, 2025-2026, nanochat",
    ),
    "zero_writers": Technique(
        title="Zero-initialised residual writers",
        versus="scaled → zero",
        off={"model": {"init": {"residual_writers": "scaled"}}},
        on={"model": {"init": {"residual_writers": "zero"}}},
        effect="changes",
        code=("llm_core.model.init:initialise",),
        part=True,
        upkeep="Low.",
        use="Fast starts at high rates: each block begins as the identity.",
        skip="Imported recipes that rely on their own scale.",
        source="Zhang et al., 2019",
    ),
}  # fmt: skip
