"""Warm-up, then a constant learning rate."""

from typing import Literal

from llm_core.experiment.optimization import ScheduleSpec
from llm_core.runtime_only import runtime_only


class Constant(ScheduleSpec):
    """Warm-up, then a constant learning rate."""

    kind: Literal["constant"] = "constant"

    def share(self, step: int, steps: int) -> float:
        """See ``ScheduleSpec``."""
        del steps
        return self.warmup_share(step)

    @runtime_only("refuses a run before it starts")
    def stays(self) -> bool:
        """See ``ScheduleSpec``."""
        return True
