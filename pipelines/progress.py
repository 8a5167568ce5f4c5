"""How far a run is: which stage of how many, what it is doing, and how long the rest will take.

The time left is what the remaining stages took last, by their manifests; for a training run at work, it follows from
the run's own rate. Nobody knows it for a stage that was never made: then the estimate is a lower bound, and says so.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Self

from llm_core.graph.plan import PlanItem
from llm_core.graph.price import duration

LINE_SECONDS = 10.0
"""Between two lines about a stage at work, where there are no progress bars."""

VALIDATED = ("validation_loss", "validation_bits_per_byte")
TRAINING_UNIT = "steps"
"""The unit whose rate is even enough to tell the end of a stage."""


class RunProgress:
    """The stages of one run, in the order in which they begin."""

    def __init__(self, items: Sequence[PlanItem], clock: Callable[[], float] = time.monotonic) -> None:
        self.total = len(items)
        self.position = 0
        self._waiting = {item.stage: item for item in items}
        self._clock = clock
        self.begin_idle()

    def begin_idle(self) -> None:
        """No stage is at work."""
        self.stage: str | None = None
        self._started = self._clock()
        self._what = ""
        self._metrics: Mapping[str, float | None] = {}
        self._counts: tuple[float, float, str] | None = None
        self._first: tuple[float, float] | None = None  # (count, time) since which the rate is measured

    def begin(self, stage: str) -> str:
        """``stage`` begins; its heading, as in ``[ 3/13] tokenizer``."""
        self.begin_idle()
        self.stage = stage
        self.position += 1
        return self.heading

    def end(self) -> None:
        """The stage at work is done."""
        self._waiting.pop(self.stage or "", None)
        self.begin_idle()

    def status(self, what: str) -> None:
        """The stage does something that can't be counted: compiling, or starting a process."""
        self._what, self._counts, self._first = what, None, None

    def count(self, done: float, total: float, unit: str) -> None:
        """``done`` of ``total`` units are behind the stage."""
        before = self._counts
        if self._first is None or before is None or before[1:] != (total, unit) or done < before[0]:
            self._first = done, self._clock()
        self._counts = done, total, unit

    def observe(self, metrics: Mapping[str, float | None]) -> None:
        """The newest metrics of a training run."""
        validated = {name: self._metrics[name] for name in VALIDATED if self._metrics.get(name) is not None}
        self._metrics = {**validated, **metrics}

    @property
    def heading(self) -> str:
        """``[ 3/13] tokenizer``."""
        return f"{self.place} {self.stage}"

    @property
    def place(self) -> str:
        """``[ 3/13]``."""
        return f"[{self.position:>{len(str(self.total))}}/{self.total}]"

    @property
    def counts(self) -> tuple[float, float] | None:
        """(done, total) of the stage at work, where it counts something."""
        return self._counts[:2] if self._counts else None

    def activity(self) -> str:
        """What the stage does: ``step 12 of 100, loss 4.321, 5,000 tokens/s``, or ``compiling kernels``."""
        if self._counts is None:
            return self._what or "at work"
        done, total, unit = self._counts
        if unit == TRAINING_UNIT:
            parts = [f"step {done:,.0f} of {total:,.0f}"]
            return ", ".join([*parts, live_metrics(self._metrics)] if self._metrics else parts)
        return f"{done:,.0f} of {total:,.0f} {unit}"

    def line(self) -> str:
        """What the stage does, for how long, and what is left of it and of the run."""
        left = self._counted_left() if self._counts and self._counts[2] == TRAINING_UNIT else None
        stage_left = f", {duration(left)} left" if left is not None else ""
        return f"{self.activity()}, for {duration(self.elapsed)}{stage_left}; {self.left()}"

    @property
    def elapsed(self) -> float:
        """Seconds since the stage at work began."""
        return self._clock() - self._started

    def left(self) -> str:
        """``about 3 min 20 s left in all``; a lower bound, or unknown, where stages have no time of before."""
        known, unknown = 0.0, 0
        for name, item in self._waiting.items():
            seconds = self._stage_left(item) if name == self.stage else _last(item)
            if seconds is None:
                unknown += 1
            else:
                known += seconds
        if not unknown:
            return f"about {duration(known)} left in all" if self._waiting else "that was all"
        stages = f"{unknown} stage{'s' * (unknown > 1)} of unknown length"
        return f"more than {duration(known)} left in all, and {stages}" if known else f"time left unknown: {stages}"

    def _stage_left(self, item: PlanItem) -> float | None:
        """Seconds that the stage at work still needs; None when nobody knows."""
        counted = self._counted_left()
        if counted is not None and self._counts and self._counts[2] == TRAINING_UNIT:
            return counted
        last = _last(item)
        if last is None or last < self.elapsed:  # never made, or slower than last time
            return 0.0 if item.verdict == "hit" else None
        return max(last - self.elapsed, counted or 0.0)

    def _counted_left(self) -> float | None:
        if self._counts is None or self._first is None:
            return None
        (done, total, _), (first, since) = self._counts, self._first
        return (total - done) * (self._clock() - since) / (done - first) if done > first else None


def _last(item: PlanItem) -> float | None:
    return item.seconds if item.verdict in ("run", "maybe") else 0.0


class Lines:
    """Tells in lines what a stage does: where output goes to a file, a pipe, or Dagster's log.

    A line comes when the stage does something for the first time, when a training run has its first metrics, and every
    ``seconds``. Use as a context manager around the stage.
    """

    def __init__(self, progress: RunProgress, say: Callable[[str], None], seconds: float = LINE_SECONDS) -> None:
        self._progress = progress
        self._say = say
        self._seconds = seconds
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._said: set[str] = set()
        self._trains = False
        self._thread = threading.Thread(target=self._repeat, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._ended.set()
        self._thread.join()

    def status(self, what: str) -> None:
        """As ``Runtime.status``."""
        with self._lock:
            self._progress.status(what)
            if what and what not in self._said:
                self._said.add(what)
                self._say(f"{self._progress.stage}: {what}")

    def count(self, done: float, total: float, unit: str) -> None:
        """As ``Runtime.progress``."""
        with self._lock:
            self._progress.count(done, total, unit)
            if unit == TRAINING_UNIT and not self._trains:
                self._trains = True
                self._tell()

    def observe(self, metrics: Mapping[str, float]) -> None:
        """As ``Runtime.observe``."""
        with self._lock:
            self._progress.observe(metrics)

    def _repeat(self) -> None:
        while not self._ended.wait(self._seconds):
            with self._lock:
                self._tell()

    def _tell(self) -> None:
        self._say(f"{self._progress.stage}: {self._progress.line()}")


def live_metrics(metrics: Mapping[str, float | None]) -> str:
    """Loss and speed of a training run; a skipped step may have no loss. Of held-out text, the last measured loss."""
    loss, speed = metrics.get("loss"), metrics.get("tokens_per_second") or 0.0
    nats, bits = (metrics.get(name) for name in VALIDATED)
    heldout = (
        "" if nats is None else f", held out {nats:.3f}" + ("" if bits is None else f" ({bits:.3f} bits per byte)")
    )
    return f"{'no loss' if loss is None else f'loss {loss:.3f}'}{heldout}, {speed:,.0f} tokens/s"
