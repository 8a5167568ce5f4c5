"""Warm-up, stable, decay (Hu et al., 2024)."""

import math
from typing import Annotated, Literal

from pydantic import Field

from llm_core.experiment.optimization import FallingSpec
from llm_core.runtime_only import runtime_only


class WarmupStableDecay(FallingSpec):
    """Warm-up, the full rate, and a fall in the last ``cooldown_steps``.

    The cooldown falls as 1 - sqrt(share of it that is done): steep at first, which Hägele et al. (2024) found to end
    lower than a straight line.
    """

    kind: Literal["wsd"] = "wsd"

    cooldown_steps: Annotated[int, Field(ge=0)] = 0
    """Steps at the end in which the rate falls."""

    def share(self, step: int, steps: int) -> float:
        """See ``ScheduleSpec``."""
        left = steps - (step + 1)
        if left >= self.cooldown_steps or step < self.warmup_steps:
            return self.warmup(step)
        done = (self.cooldown_steps - left) / (self.cooldown_steps + 1)
        return self.final_share + (1 - self.final_share) * (1 - math.sqrt(done))

    @runtime_only("refuses a run before it starts")
    def falling_steps(self) -> int:
        """See ``ScheduleSpec``."""
        return self.cooldown_steps

    @runtime_only("refuses a run before it starts")
    def stays(self) -> bool:
        """See ``ScheduleSpec``."""
        return True
