"""The progress of a run: the number of the stage, what it does, and the time left.

The time left is the sum of the times that the remaining stages took last time, by their manifests. For a running
training it follows from the speed so far. For a stage that was never made it is unknown; the estimate is then a lower
bound, and the text says so.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Self

from llm_core.graph.plan import PlanItem
from llm_core.graph.price import duration

LINE_SECONDS = 10.0
"""Seconds between two lines about the running stage, without progress bars."""

VALIDATED = ("validation_loss", "validation_bits_per_byte")
TRAINING_UNIT = "steps"
"""The only unit whose speed is constant enough to estimate the end of a stage."""


class RunProgress:
    """The progress of the stages of one run."""

    def __init__(self, items: Sequence[PlanItem], clock: Callable[[], float] = time.monotonic) -> None:
        self.total = len(items)
        self.position = 0
        self._waiting = {item.stage: item for item in items}
        self._clock = clock
        self.begin_idle()

    def begin_idle(self) -> None:
        """No stage is running."""
        self.stage: str | None = None
        self._started = self._clock()
        self._what = ""
        self._metrics: Mapping[str, float | None] = {}
        self._counts: tuple[float, float, str] | None = None
        self._first: tuple[float, float] | None = None  # (count, time) at which the measurement of the speed began

    def begin(self, stage: str) -> str:
        """``stage`` begins. Returns its heading, as in ``[ 3/13] tokenizer``."""
        self.begin_idle()
        self.stage = stage
        self.position += 1
        return self.heading

    def end(self) -> None:
        """The running stage is done."""
        self._waiting.pop(self.stage or "", None)
        self.begin_idle()

    def skip(self, stage: str) -> None:
        """``stage`` is not needed after all."""
        self.total -= 1
        self._waiting.pop(stage, None)

    def status(self, what: str) -> None:
        """The stage does something that can't be counted: compiling, or starting a process."""
        self._what, self._counts, self._first = what, None, None

    def count(self, done: float, total: float, unit: str) -> None:
        """The stage has done ``done`` of ``total`` units."""
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
        """(done, total) of the running stage; None if it counts nothing."""
        return self._counts[:2] if self._counts else None

    def activity(self) -> str:
        """What the stage does: ``step 12 of 100, loss 4.321, 5,000 tokens/s``, or ``compiling kernels``."""
        if self._counts is None:
            return self._what or "running"
        done, total, unit = self._counts
        if unit == TRAINING_UNIT:
            parts = [f"step {done:,.0f} of {total:,.0f}"]
            return ", ".join([*parts, live_metrics(self._metrics)] if self._metrics else parts)
        return f"{done:,.0f} of {total:,.0f} {unit}"

    def line(self) -> str:
        """What the stage does, for how long, and the time left for it and for the run."""
        left = self._counted_left() if self._counts and self._counts[2] == TRAINING_UNIT else None
        stage_left = f", {duration(left)} left" if left is not None else ""
        return f"{self.activity()}, for {duration(self.elapsed)}{stage_left}; {self.left()}"

    @property
    def elapsed(self) -> float:
        """Seconds since the running stage began."""
        return self._clock() - self._started

    def left(self) -> str:
        """``about 3 min 20 s left in total``. A lower bound, or unknown, if some stages were never made."""
        known, unknown = 0.0, 0
        for name, item in self._waiting.items():
            seconds = self._stage_left(item) if name == self.stage else _last(item)
            if seconds is None:
                unknown += 1
            else:
                known += seconds
        if not unknown:
            return f"about {duration(known)} left in total" if self._waiting else "all stages are done"
        stages = f"{unknown} stage{'s' * (unknown > 1)} never made before"
        return f"more than {duration(known)} left in total ({stages})" if known else f"time left unknown ({stages})"

    def _stage_left(self, item: PlanItem) -> float | None:
        """Seconds that the running stage still needs; None if unknown."""
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
    """Prints in lines what a stage does, for output to a file, a pipe or Dagster's log.

    It prints a line for each new activity of the stage, for the first metrics of a training run, and every ``seconds``.
    Use it as a context manager around the stage.
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
    """Loss, last held-out loss and speed of a training run. A skipped step may have no loss."""
    loss, speed = metrics.get("loss"), metrics.get("tokens_per_second") or 0.0
    nats, bits = (metrics.get(name) for name in VALIDATED)
    heldout = (
        "" if nats is None else f", held out {nats:.3f}" + ("" if bits is None else f" ({bits:.3f} bits per byte)")
    )
    return f"{'no loss' if loss is None else f'loss {loss:.3f}'}{heldout}, {speed:,.0f} tokens/s"
