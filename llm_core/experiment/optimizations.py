"""The section ``optimizations``: what each technique of model and trainer costs and brings on this machine."""

from typing import Annotated

from pydantic import Field

from llm_core.experiment.base import Spec
from llm_core.experiment.layers import Positive


class OptimizationsSpec(Spec):
    """Short trainings of the experiment's model in pairs: without a technique, and with it."""

    rows: tuple[str, ...] = ()
    """The techniques to measure, by their names in ``llm_core.optimizations.techniques``; empty: all of them."""
    steps: Annotated[int, Field(ge=8)] = 24
    """Optimiser steps of a training. The first quarter is not timed: the rate warms up, and the compiler works."""
    rounds: Annotated[int, Field(ge=3)] = 3
    """Pairs of trainings per technique, each with its own seed. The two sides take turns in being first.
    Below three, verdicts would be wrong too often."""
    margin: Positive = 0.02
    """The difference of speed or memory, as a share, that does not matter."""
    loss_margin: Positive = 0.002
    """The difference of the loss, as a share, that does not matter."""
