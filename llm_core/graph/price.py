"""The cost of building a stage: time, and money for GPUs; from the last build, or from the stage's estimate."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from llm_core.experiment.base import without_outsiders
from llm_core.experiment.runtime import AskSpec, ComputeSpec
from llm_core.graph.identity import config
from llm_core.graph.stage import Stage
from llm_core.registry import load_object
from llm_core.store.manifest import Manifest


@dataclass(frozen=True)
class Estimate:
    """A stage's own estimate of its cost.

    ``ratio``: the amount of work relative to the last build; None when it is not known. ``hours`` on ``gpus`` GPUs, by
    formula; None when there is no formula (on a CPU).
    """

    ratio: float | None
    hours: float | None
    gpus: int


@dataclass(frozen=True)
class Price:
    """``hours`` of wall time and US ``dollars``; None: not known. ``dollars`` is the cost of the GPUs only, at
    ``compute.price_per_gpu_hour``."""

    hours: float | None = None
    dollars: float | None = None
    source: Literal["last time", "preflight"] | None = None

    def above(self, bound: AskSpec | None) -> bool:
        """Whether it exceeds the bound for spending without consent."""
        pairs = [] if bound is None else [(self.hours, bound.hours), (self.dollars, bound.dollars)]
        return any(mine is not None and most is not None and mine > most for mine, most in pairs)

    def __str__(self) -> str:
        if self.hours is None:
            return "unknown"
        return duration(3600 * self.hours) + ("" if self.dollars is None else f", ${self.dollars:,.2f}")


def price(stage: Stage, previous: Manifest | None, compute: ComputeSpec) -> Price:
    """The expected cost of building ``stage``. ``previous``: the manifest of its last artifact."""
    compute = compute.changed(stage.compute) if stage.compute else compute
    if previous is not None:
        gpus = 0 if str(previous.stats.get("device", "CPU")).startswith("CPU") else int(previous.stats.get("ranks", 1))
        ratio = _ratio(stage, previous, compute)
        elsewhere = stage.trains and not compute.planned_here and not gpus
        if ratio is not None and not elsewhere:
            # The statistics of a resumed run include the time of all its steps.
            seconds = max(previous.seconds, float(previous.stats.get("seconds_training", 0.0)))
            return _priced(seconds / 3600 * ratio, gpus, compute, "last time")
    if stage.cost is None:
        return Price()
    estimate: Estimate = load_object(stage.cost)(compute, None, **stage.config)
    return Price() if estimate.hours is None else _priced(estimate.hours, estimate.gpus, compute, "preflight")


def total(prices: Iterable[Price]) -> tuple[Price, int]:
    """(the sum of the known prices, the number of unknown ones)."""
    found = list(prices)
    dollars = [item.dollars for item in found if item.dollars is not None]
    known = [item.hours for item in found if item.hours is not None]
    return Price(sum(known) if known else None, sum(dollars) if dollars else None), len(found) - len(known)


def duration(seconds: float) -> str:
    """3.2 s, 4 min 10 s, 5 h 02 min."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def _ratio(stage: Stage, previous: Manifest, compute: ComputeSpec) -> float | None:
    """The amount of work relative to the last build. 1 for equal settings, and for stages without an estimate."""
    if stage.cost is None or without_outsiders(previous.config, stage.config) == config(stage):
        return 1.0
    estimate: Estimate = load_object(stage.cost)(compute, previous.config, **stage.config)
    return estimate.ratio


def _priced(hours: float, gpus: int, compute: ComputeSpec, source: Literal["last time", "preflight"]) -> Price:
    known = gpus > 0 and compute.price_per_gpu_hour > 0
    return Price(hours, hours * gpus * compute.price_per_gpu_hour if known else None, source)
