"""A plug-in: the micro experiment has components of its own, so that every process of a run must know them."""

from typing import Literal

import polars as pl

from llm_core.data.rules.units import text
from llm_core.experiment.optimization import ScheduleSpec

RULES = {"rivers": "tests.pipelines.components:rivers"}
SCHEDULES = {"half": "tests.pipelines.components:Half"}


def rivers() -> pl.Expr:
    """How many rivers there are."""
    return text().str.count_matches("river")


class Half(ScheduleSpec):
    """Half of the rate in every second step."""

    kind: Literal["half"] = "half"

    def share(self, step: int, steps: int) -> float:
        """See ``ScheduleSpec``."""
        del steps
        return 0.5 if step % 2 else 1.0
