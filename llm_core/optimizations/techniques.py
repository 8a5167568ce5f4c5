"""All rows of the table by name, in its order, and the reasons why other components have none."""

from llm_core.optimizations.layer_techniques import LAYERS
from llm_core.optimizations.model_techniques import MODEL
from llm_core.optimizations.position_techniques import POSITIONS
from llm_core.optimizations.step_techniques import STEP
from llm_core.optimizations.technique import Technique

TECHNIQUES: dict[str, Technique] = {**STEP, **MODEL, **POSITIONS, **LAYERS}

_SCHEDULE = "its cost is nil, and what it brings shows at the end of a whole run: compare it as an idea of a study"
_PACKING = "it changes what a sequence contains, held-out ones too, so that losses of both sides can't be compared"

WITHOUT_ROW: dict[str, str] = {
    "MIXERS.attention": "the side before of the other mixers",
    "NORMS.layernorm": "the side before of rmsnorm",
    "POSITIONS.nope": "the side before of the other positions",
    "FEED_FORWARDS.gelu": "the side before of the other feed-forwards",
    "OPTIMIZERS.adamw": "the side before of muon",
    "SCHEDULES.cosine": _SCHEDULE,
    "SCHEDULES.linear": _SCHEDULE,
    "SCHEDULES.wsd": _SCHEDULE,
    "SCHEDULES.constant": _SCHEDULE,
    "PACKINGS.concat": _PACKING,
    "PACKINGS.best_fit": _PACKING,
    "PACKINGS.pad": _PACKING,
}
"""Components of model and trainer without a row → why."""
