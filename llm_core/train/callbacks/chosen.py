"""Which callbacks a run has."""

from llm_core.train.callbacks.bad_steps import BadBatches, BadSteps
from llm_core.train.callbacks.base import Callback
from llm_core.train.callbacks.checkpointing import Checkpointing
from llm_core.train.callbacks.leak_probe import LeakProbe
from llm_core.train.callbacks.machine import Machine
from llm_core.train.callbacks.profiler import Profiler
from llm_core.train.callbacks.records import Metrics, Tracking
from llm_core.train.callbacks.samples import Samples
from llm_core.train.callbacks.too_good import TooGood
from llm_core.train.callbacks.validation import Validation
from llm_core.train.checkpoints import Checkpoints
from llm_core.train.spec import TrainerSpec


def chosen_callbacks(spec: TrainerSpec, checkpoints: Checkpoints) -> list[Callback]:
    """What ``spec`` asks for, in the order in which they are called.

    Who adds figures stands before those who pass them on, and those before who may end the run by them; checkpoints
    come last, when everyone has seen the step.
    """
    guards, book = spec.training.guards, BadBatches()
    probe = [LeakProbe()] if guards.leak_probe else []
    tracking = spec.tracking
    profiler = [] if tracking.profile is None else [Profiler(tracking.profile)]
    samples = [] if tracking.samples is None else [Samples(spec, tracking.samples)]
    floor = [] if guards.loss_floor is None else [TooGood(book, guards.loss_floor, guards.floor_steps)]
    return [
        *profiler,
        *probe,
        Validation(),
        Machine(),
        Metrics(),
        Tracking(spec),
        book,
        BadSteps(book),
        *floor,
        *samples,
        Checkpointing(checkpoints),
    ]
