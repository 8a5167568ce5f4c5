"""Linear decay."""

from typing import Literal

from llm_core.experiment.optimization import FallingSpec


class Linear(FallingSpec):
    """Warm-up, then linear decay to ``final_share``."""

    kind: Literal["linear"] = "linear"

    def share(self, step: int, steps: int) -> float:
        """See ``ScheduleSpec``."""
        if step < self.warmup_steps:
            return self.warmup_share(step)
        done = (step + 1 - self.warmup_steps) / (steps + 1 - self.warmup_steps)
        return 1 - (1 - self.final_share) * done
