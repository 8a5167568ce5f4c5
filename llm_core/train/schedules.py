"""Learning-rate schedules: the share of the peak rate at every step.

Each is a function of (step from 0, steps of the run, its specification) and returns a share from 0 to 1. All warm up
linearly, so that the last warm-up step has the full rate. Those that fall would reach ``final_share`` one step after
the last one: no step is lost to a rate of zero.
"""

import math

from llm_core.experiment.training import ScheduleSpec


def constant(step: int, steps: int, spec: ScheduleSpec) -> float:  # noqa: ARG001 (every schedule has this signature)
    """Warm-up, then the full rate."""
    return _warmup(step, spec)


def cosine(step: int, steps: int, spec: ScheduleSpec) -> float:
    """Warm-up, then half a cosine down to ``final_share`` (Loshchilov and Hutter, 2017)."""
    if step < spec.warmup_steps:
        return _warmup(step, spec)
    done = (step + 1 - spec.warmup_steps) / (steps + 1 - spec.warmup_steps)
    return spec.final_share + (1 - spec.final_share) * 0.5 * (1 + math.cos(math.pi * done))


def linear(step: int, steps: int, spec: ScheduleSpec) -> float:
    """Warm-up, then straight down to ``final_share``."""
    if step < spec.warmup_steps:
        return _warmup(step, spec)
    done = (step + 1 - spec.warmup_steps) / (steps + 1 - spec.warmup_steps)
    return 1 - (1 - spec.final_share) * done


def wsd(step: int, steps: int, spec: ScheduleSpec) -> float:
    """Warm-up, stable, decay (Hu et al., 2024): the full rate until the last ``cooldown_steps``.

    The cooldown falls as 1 - sqrt(share of it that is done): steep at first, which Hägele et al. (2024) found to end
    lower than a straight line.
    """
    left = steps - (step + 1)
    if left >= spec.cooldown_steps or step < spec.warmup_steps:
        return _warmup(step, spec)
    done = (spec.cooldown_steps - left) / (spec.cooldown_steps + 1)
    return spec.final_share + (1 - spec.final_share) * (1 - math.sqrt(done))


def _warmup(step: int, spec: ScheduleSpec) -> float:
    return min(1.0, (step + 1) / spec.warmup_steps) if spec.warmup_steps else 1.0
