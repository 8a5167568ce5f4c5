"""Cosine decay (Loshchilov and Hutter, 2017)."""

import math
from typing import Literal

from llm_core.experiment.optimization import FallingSpec


class Cosine(FallingSpec):
    """Warm-up, then cosine decay to ``final_share``."""

    kind: Literal["cosine"] = "cosine"

    def share(self, step: int, steps: int) -> float:
        """See ``ScheduleSpec``."""
        if step < self.warmup_steps:
            return self.warmup_share(step)
        done = (step + 1 - self.warmup_steps) / (steps + 1 - self.warmup_steps)
        return self.final_share + (1 - self.final_share) * 0.5 * (1 + math.cos(math.pi * done))
