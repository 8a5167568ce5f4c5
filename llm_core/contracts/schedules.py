"""What holds for every learning-rate schedule."""

from llm_core.contracts import settings
from llm_core.contracts.example import Check, Example

STEPS, WARMUP = 100, 10


def _shares(example: Example, warmup: int) -> list[float]:
    schedule = example.component().model_copy(update={"warmup_steps": warmup})
    shares = [schedule.share(step, STEPS) for step in range(STEPS)]
    wrong = {type(share).__name__ for share in shares if not isinstance(share, int | float)}
    example.hold(not wrong, f"share returned {', '.join(sorted(wrong))}: return a number above 0 and at most 1")
    return shares


def warms_up_linearly(example: Example) -> None:
    """The last step of the warm-up has the full rate."""
    found = _shares(example, WARMUP)[:WARMUP]
    right = all(abs(share - (step + 1) / WARMUP) < 1e-9 for step, share in enumerate(found))
    example.hold(
        right, f"its first {WARMUP} shares with warmup_steps {WARMUP} are {found}: return self.warmup_share(step) there"
    )


def stays_above_zero(example: Example) -> None:
    """A share is above 0 and at most 1: a step without a rate teaches nothing."""
    for warmup in (0, WARMUP, STEPS):
        for step, share in enumerate(_shares(example, warmup)):
            example.hold(
                0 < share <= 1, f"its share at step {step} of {STEPS} is {share}: it must be above 0 and at most 1"
            )


CHECKS: tuple[Check, ...] = (*settings.CHECKS, warms_up_linearly, stays_above_zero)
