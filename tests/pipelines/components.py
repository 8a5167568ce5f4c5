"""A plug-in: the micro experiment has components of its own, so that every process of a run must know them."""

from typing import TYPE_CHECKING, ClassVar, Literal

import polars as pl

from llm_core.data.rules.measures import text
from llm_core.experiment.callbacks import CallbackSpec
from llm_core.experiment.optimization import ScheduleSpec
from llm_core.train.callbacks.json_lines import JsonLinesCallback

if TYPE_CHECKING:
    from llm_core.train.callbacks.run import Run

RULES = {"rivers": "tests.pipelines.components:rivers"}
SCHEDULES = {"half": "tests.pipelines.components:Half"}
CALLBACKS = {"gradients": "tests.pipelines.components:Gradients"}


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


class Gradients(CallbackSpec):
    """The largest gradient of every step."""

    kind: Literal["gradients"] = "gradients"
    outputs: ClassVar = ("gradients.jsonl",)

    def build(self) -> "Largest":
        """See ``CallbackSpec``."""
        return Largest()


class Largest(JsonLinesCallback):
    """Writes ``gradients.jsonl``."""

    file = "gradients.jsonl"

    def before_update(self, run: "Run") -> None:
        """The gradients are there."""
        largest = max(
            float(parameter.grad.abs().max()) for parameter in run.model.parameters() if parameter.grad is not None
        )
        if self.writer:
            self.writer.append({"step": run.progress.step + 1, "largest": largest})
