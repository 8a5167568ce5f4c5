"""Builds the callbacks of a run."""

from llm_core.train.callbacks.base import Callback
from llm_core.train.callbacks.run import naming_callback
from llm_core.train.callbacks.spec import (
    BadBatches,
    BadSteps,
    Checkpointing,
    LeakProbe,
    LossFloor,
    Machine,
    Metrics,
    Tracking,
    Validation,
)
from llm_core.train.callbacks.untouched import watched
from llm_core.train.spec import TrainerSpec


def build_callbacks(spec: TrainerSpec) -> list[Callback]:
    """The callbacks of every run, and those that ``spec`` turns on, in the order of their phases."""
    guards = spec.training.guards
    chosen = [Validation(), Machine(), Metrics(), Tracking(), BadBatches(), BadSteps(), Checkpointing()]
    if guards.leak_probe:
        chosen.append(LeakProbe())
    if guards.loss_floor is not None:
        chosen.append(LossFloor(share=guards.loss_floor, steps=guards.floor_steps))
    callbacks = []
    for component in sorted([*chosen, *spec.tracking.callbacks.values()], key=lambda component: component.phase):
        with naming_callback(component.kind):
            callback: Callback = component.build()
        callback.name = component.kind
        callbacks.append(watched(callback))
    return callbacks
