"""One run of a study, and the stage that trains it."""

from dataclasses import dataclass
from typing import Literal, get_args

from llm_core.experiment.base import Spec, later
from llm_core.experiment.model import ModelSpec
from llm_core.experiment.training import TrainingSpec

Part = Literal["trunk", "cooldown", "rates", "batches", "orders", "ideas", "mixtures"]
PARTS: tuple[Part, ...] = get_args(Part)
SAME_WEIGHTS = 1 << 32
"""Seeds that differ by a multiple of this give the same initial weights and another order of data (and of dropout):
weights are drawn by torch's generator of the CPU, which takes the lower 32 bits of a seed, and the order follows from
all of them."""


class StudyRun(Spec):
    """What the laws know about one run, beside its loss."""

    role: str
    """The role of its artifact among the inputs of a stage."""
    width: int
    seed: int
    parameters: int
    """Those that multiply every token: matrices and head."""
    steps: int
    tokens: int
    batch: int
    """Tokens of a step."""
    flops: int
    rate: float
    """The peak learning rate."""
    multiple: float
    """``rate`` as a multiple of the size's own."""
    idea: str = ""
    """The idea that it tries; empty: the launched recipe."""
    weights: tuple[tuple[str, float], ...] = later(default=(), absent=[])
    """Sources with their shares, of a run that tries a mixture."""


@dataclass(frozen=True)
class LadderStage:
    """A stage that trains: from new weights, or from the state of the stage ``start`` at ``from_step``."""

    part: Part
    name: str
    description: str
    model: ModelSpec
    training: TrainingSpec
    seed: int
    run: StudyRun
    flops: int
    """Of what it trains itself, which is less than that of its run where it starts from a state."""
    start: str | None = None
    from_step: int = 0
