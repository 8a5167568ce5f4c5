"""Warm-up, stable, decay (Hu et al., 2024)."""

import math
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from llm_core.experiment.base import outside_identity
from llm_core.experiment.optimization import FallingSpec, Percent, ScheduleSpec
from llm_core.runtime_only import runtime_only


class WarmupStableDecay(FallingSpec):
    """Warm-up, then a constant learning rate, then decay in the last ``cooldown_steps``.

    The decay is 1 - sqrt(done share of the cooldown). Hägele et al. (2024) found a lower final loss with it than with
    linear decay.
    """

    kind: Literal["wsd"] = "wsd"

    cooldown_steps: Annotated[int, Field(ge=0)] = 0
    """The number of steps at the end in which the rate falls."""
    cooldown: Percent | None = outside_identity(default=None)
    """The same as a share of the run, instead of ``cooldown_steps``: ``20%``. It counts as the steps that it gives."""

    shares_of_run: ClassVar[dict[str, str]] = {**ScheduleSpec.shares_of_run, "cooldown": "cooldown_steps"}

    def share(self, step: int, steps: int) -> float:
        """See ``ScheduleSpec``."""
        left = steps - (step + 1)
        if left >= self.cooldown_steps or step < self.warmup_steps:
            return self.warmup_share(step)
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
