"""Techniques that change how a step is computed, and its updates. Most of them leave the numbers as they are."""

from typing import Any

from llm_core.model.feed_forwards.moe.spec import MixtureOfExperts
from llm_core.optimizations.shapes import attention
from llm_core.optimizations.technique import Change, Overrides, Recipe, Technique
from llm_core.optimizations.trainer_options import WHOLE_LOSS

_RECOMPUTES: dict[str, Any] = {
    "off": {"compute": {"activation_checkpointing": "none", "activation_checkpointing_every": None}},
    "effect": "same",
    "code": ("llm_core.train.activation_checkpointing",),
    "source": "Chen et al., 2016",
}


def _recomputes(mode: str, every: int | None = None) -> Overrides:
    return {"compute": {"activation_checkpointing": mode, "activation_checkpointing_every": every}}


def _whole_batch(recipe: Recipe) -> Overrides:
    return {"compute": {"micro_batch": recipe.training.batch_size}}


def _quarters(recipe: Recipe) -> Overrides:
    if recipe.training.batch_size < 4:
        raise ValueError(f"the batch has {recipe.training.batch_size} sequences, and four micro-batches need four")
    return {"compute": {"micro_batch": recipe.training.batch_size // 4}}


def _kernel(name: str) -> Change:
    def changed(recipe: Recipe) -> Overrides:
        attention(recipe)
        return {"compute": {"attention_backend": name}}

    return changed


def _experts(products: str) -> Change:
    def changed(recipe: Recipe) -> Overrides:
        if not isinstance(recipe.model.feed_forward, MixtureOfExperts):
            raise ValueError("the recipe has no experts")
        return {"compute": {"expert_products": products}}

    return changed


STEP: dict[str, Technique] = {
    "accumulation": Technique(
        title="Gradient accumulation",
        versus="whole batch at once → four micro-batches",
        off=_whole_batch,
        on=_quarters,
        effect="same",
        code=("llm_core.train.loop:_accumulate",),
        upkeep="Low. Each new loss must be a sum over tokens, or its mean depends on the split.",
        use="The batch does not fit into memory.",
        skip="It fits: smaller products use a GPU worse.",
    ),
    "compile": Technique(
        title="torch.compile",
        versus="eager → compiled blocks",
        off={"compute": {"compile": False}},
        on={"compute": {"compile": True}},
        effect="same",
        code=("llm_core.train.compiling",),
        upkeep="High. Each release of torch breaks or speeds up something; the first step waits for the compiler.",
        use="Long runs, above all on GPUs.",
        skip="Runs of minutes, debugging, sequence lengths that change often.",
        source="Ansel et al., 2024",
    ),
    "bf16": Technique(
        title="Mixed precision, bf16",
        versus="fp32 → bf16 autocast over fp32 weights",
        off={"training": {"precision": "fp32"}},
        on={"training": {"precision": "bf16"}},
        effect="changes",
        code=("llm_core.train.precision",),
        upkeep="Low. Sums, norms and the loss must stay in fp32.",
        use="Devices with bf16 units: GPUs from Ampere on, CPUs with AMX or AVX-512 bf16.",
        skip="Devices without such units, where it is many times slower.",
        source="Micikevicius et al., 2018",
    ),
    "fp8": Technique(
        title="Mixed precision, fp8",
        versus="bf16 → products of blocks in fp8",
        off={"training": {"precision": "bf16"}},
        on={"training": {"precision": "fp8"}},
        effect="changes",
        code=("llm_core.train.fp8",),
        upkeep="High. It needs torchao, sides that are multiples of 16, and a watch on the loss.",
        use="Wide models (several thousand channels) on GPUs from Ada and Hopper on, compiled.",
        skip="Narrow models, where casting costs more than the products save.",
        source="Micikevicius et al., 2022",
    ),
    "checkpointing_full": Technique(
        title="Activation checkpointing, full",
        versus="none → every block recomputed",
        on=_recomputes("full"),
        upkeep="Low. What a block does must not depend on how often it runs.",
        use="Memory is short after the micro-batch is 1, or long sequences.",
        skip="Activations fit: it costs about a third of the FLOPs more.",
        **_RECOMPUTES,
    ),
    "checkpointing_every_nth": Technique(
        title="Activation checkpointing, every 2nd block",
        versus="none → every second block recomputed",
        on=_recomputes("every_nth", 2),
        upkeep="Low.",
        use="Half of the saving of full checkpointing is enough.",
        skip="Activations fit.",
        **_RECOMPUTES,
    ),
    "checkpointing_selective": Technique(
        title="Activation checkpointing, selective",
        versus="none → all but products and attention recomputed",
        on=_recomputes("selective"),
        upkeep="Medium. The list of kept operations must follow torch's kernels.",
        use="The first choice on a GPU when memory is short: it recomputes only what is cheap.",
        skip="Activations fit. On CPUs, where the bookkeeping costs more than it saves.",
        **{**_RECOMPUTES, "source": "Korthikanti et al., 2022"},
    ),
    "chunked_loss": Technique(
        title="Chunked cross-entropy",
        versus="all logits at once → logits of 1,024 tokens at a time",
        off={"environment": {WHOLE_LOSS: "1"}},
        on={},
        effect="same",
        code=("llm_core.model.cross_entropy",),
        upkeep="Medium. The gradient is written by hand, so each new term of the loss is too.",
        use="Always: logits are the largest tensor of a small model with a large vocabulary.",
        skip="Never in training. All logits at once are for reading, not for runs.",
        source="Hsu et al., 2024",
    ),
    "attention_sdpa": Technique(
        title="Attention backend: sdpa",
        versus="eager → torch's fused kernel",
        off=_kernel("eager"),
        on=_kernel("sdpa"),
        effect="same",
        code=("llm_core.model.attending:_sdpa", "llm_core.model.masks"),
        upkeep="Low. torch chooses the kernel.",
        use="The default for plain causal attention.",
        skip="Softcaps, which it does not have; on GPUs with masks, where hidden keys cost as much as visible ones.",
        source="Dao et al., 2022",
    ),
    "attention_flex": Technique(
        title="Attention backend: flex",
        versus="sdpa → FlexAttention",
        off=_kernel("sdpa"),
        on=_kernel("flex"),
        effect="same",
        code=("llm_core.model.flex",),
        upkeep="High. It is compiled for each mask, and young.",
        use="Document masks, windows, ALiBi or softcaps on a GPU.",
        skip="CPUs, dropout in attention, heads of less than 16 channels.",
        source="Dong et al., 2024",
        needs="cuda",
    ),
    "attention_varlen": Technique(
        title="Attention backend: varlen",
        versus="sdpa → FlashAttention over documents",
        off=_kernel("sdpa"),
        on=_kernel("varlen"),
        effect="same",
        code=("llm_core.model.varlen",),
        upkeep="Medium. A kernel of its own in torch, CUDA only.",
        use="Many short documents per sequence, in half precision on a GPU.",
        skip="fp32, softcaps, ALiBi, dropout in attention.",
        source="Dao, 2023",
        needs="cuda",
    ),
    "grouped_experts": Technique(
        title="Grouped products of experts",
        versus="expert by expert → all experts in one kernel",
        off=_experts("looped"),
        on=_experts("grouped"),
        effect="same",
        code=("llm_core.model.feed_forwards.moe.grouped",),
        upkeep="Medium. It follows torch's grouped product, which is young.",
        use="Mixtures of experts on a GPU.",
        skip="CPUs, which always loop.",
        source="Gale et al., 2022",
        needs="cuda",
    ),
    "fsdp2": Technique(
        title="Sharded weights (FSDP2)",
        versus="ddp → fsdp2",
        off={"compute": {"parallel": "ddp"}},
        on={"compute": {"parallel": "fsdp2"}},
        effect="same",
        code=("llm_core.train.distribution:_sharded", "llm_core.train.distribution:_multiplied"),
        upkeep="Medium. Checkpoints, norms and custom optimisers must know sharded tensors.",
        use="Weights, gradients and moments do not fit on one device.",
        skip="They fit: DDP sends less.",
        source="Zhao et al., 2023",
        needs="ranks",
    ),
    "muon": Technique(
        title="Muon",
        versus="AdamW → Muon for matrices",
        off=lambda recipe: {"training": {"optimizer": {"kind": "adamw", "lr": recipe.training.optimizer.lr}}},
        on=lambda recipe: {"training": {"optimizer": {"kind": "muon", "lr": recipe.training.optimizer.lr}}},
        effect="own_rate",
        code=("llm_core.train.optimizers.muon.optimizer", "llm_core.train.optimizers.muon.orthogonalization"),
        upkeep="Medium. Each fused matrix must say of which maps it consists.",
        use="Most models: it needs fewer tokens and a moment less per matrix. Compare it with its own rate in a study.",
        skip="Small batches on slow devices: its products do not shrink with the batch.",
        source="Jordan et al., 2024",
        components=("OPTIMIZERS.muon",),
    ),
    "z_loss": Technique(
        title="z-loss",
        versus="none → weight 1e-4",
        off={"training": {"z_loss": 0.0}},
        on={"training": {"z_loss": 1e-4}},
        effect="changes",
        code=("llm_core.model.cross_entropy:_softmax",),
        part=True,
        upkeep="Low.",
        use="Long runs in half precision whose logits drift.",
        skip="Short runs, tied and softcapped heads.",
        source="Chowdhery et al., 2022",
    ),
}
