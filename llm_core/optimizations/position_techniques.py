"""Techniques that tell attention the positions of tokens, each against none."""

from typing import Any

from llm_core.optimizations.shapes import attention
from llm_core.optimizations.technique import Change, Overrides, Recipe, Technique


def _learned(recipe: Recipe) -> Overrides:
    attention(recipe)
    absolute = {"kind": "learned", "max_positions": recipe.training.sequence_length}
    return {"model": {"mixer": {"position": "nope"}, "absolute_position": absolute}}


_NOPE: dict[str, Any] = {"mixer": {"position": "nope"}, "absolute_position": None}


def _without_positions(recipe: Recipe) -> Overrides:
    attention(recipe)
    return {"model": _NOPE}


def _positions(**model: Any) -> Change:
    def changed(recipe: Recipe) -> Overrides:
        attention(recipe)
        return {"model": {**_NOPE, **model}}

    return changed


def _rope(recipe: Recipe) -> Overrides:
    own = attention(recipe).position
    position = own.model_dump(mode="json") if own.kind == "rope" else "rope"
    return {"model": {**_NOPE, "mixer": {"position": position}}}


POSITIONS: dict[str, Technique] = {
    "rope": Technique(
        title="RoPE",
        versus="no positions → rotated queries and keys",
        off=_without_positions,
        on=_rope,
        effect="changes",
        code=("llm_core.model.positions.rope.module", "llm_core.model.positions.rope.spec"),
        upkeep="Low. Longer contexts need another theta or scaling.",
        use="The default for attention.",
        skip="Layers that need no order, in a mix of both.",
        source="Su et al., 2021",
        components=("POSITIONS.rope",),
    ),
    "alibi": Technique(
        title="ALiBi",
        versus="no positions → a bias by distance",
        off=_without_positions,
        on=_positions(mixer={"position": "alibi"}),
        effect="changes",
        code=("llm_core.model.positions.alibi.module", "llm_core.model.positions.alibi.spec"),
        upkeep="Medium. A bias per score rules out several kernels.",
        use="Imported models, such as MPT.",
        skip="New models on GPUs.",
        source="Press et al., 2022",
        components=("POSITIONS.alibi",),
    ),
    "sinusoidal": Technique(
        title="Sinusoidal positions",
        versus="no positions → constant waves added to the embedding",
        off=_without_positions,
        on=_positions(absolute_position="sinusoidal"),
        effect="changes",
        code=("llm_core.model.positions.absolute.module:Sinusoidal",),
        upkeep="Low.",
        use="Comparisons with the original Transformer.",
        skip="New models: RoPE.",
        source="Vaswani et al., 2017",
        components=("ABSOLUTE_POSITIONS.sinusoidal",),
    ),
    "learned_positions": Technique(
        title="Learned positions",
        versus="no positions → a learned row per position",
        off=_without_positions,
        on=_learned,
        effect="changes",
        code=("llm_core.model.positions.absolute.module:Learned",),
        upkeep="Low.",
        use="Imported models, such as GPT-2.",
        skip="Contexts that will be longer than those of the training.",
        source="Radford et al., 2019",
        components=("ABSOLUTE_POSITIONS.learned",),
    ),
}
