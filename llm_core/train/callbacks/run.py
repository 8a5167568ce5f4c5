"""A run, as its callbacks see it."""

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from torch.optim import Optimizer

from llm_core.errors import PedigreeError
from llm_core.model.decoder import Decoder
from llm_core.runtime_only import runtime_only
from llm_core.train.callbacks.base import Callback
from llm_core.train.checkpoints import Checkpoints, Progress
from llm_core.train.data import Data
from llm_core.train.distribution import World
from llm_core.train.guards import LEFT_OUT, REASONS, RollBackError, StepGuard
from llm_core.train.metrics_readback import MetricsReadback
from llm_core.train.spec import TrainerSpec

Found = TypeVar("Found", bound=Callback)


@runtime_only("words errors")
@contextmanager
def naming_callback(name: str) -> Iterator[None]:
    """An exception that nobody expected is told with the callback ``name`` that raised it."""
    try:
        yield
    except (PedigreeError, RollBackError):
        raise
    except Exception as error:
        if not hasattr(error, "__notes__"):  # of the innermost: checkpoints call the others
            error.add_note(f"in the callback {name}")
        raise


@dataclass
class Run:
    """A run: what it is made of, and how far it is. ``model`` is the plain one, whose parameters keep their names."""

    spec: TrainerSpec
    world: World
    data: Data
    model: Decoder
    optimizer: Optimizer
    guard: StepGuard
    readback: MetricsReadback
    checkpoints: Checkpoints
    callbacks: list[Callback]
    progress: Progress
    log: Callable[[str], None]

    def find(self, kind: type[Found]) -> Found:
        """The callback of this class, one that every run has."""
        return next(callback for callback in self.callbacks if isinstance(callback, kind))

    def restore(self, progress: Progress) -> None:
        """Go on from a checkpoint, or from the start. Callbacks that it does not know begin afresh."""
        self.progress = progress
        if progress.step:
            self.data.train.restore(progress.data)
        states = progress.callbacks
        if "guard" in states:
            self.guard.load_state_dict(states["guard"])
        for callback in self.callbacks:
            if callback.name in states:
                with naming_callback(callback.name):
                    callback.load_state_dict(states[callback.name])

    def save_states(self) -> None:
        """Put the states of the guard and of all callbacks into ``progress``, for a checkpoint."""
        states = {"guard": self.guard.state_dict()}
        for callback in self.callbacks:
            with naming_callback(callback.name):
                if state := callback.state_dict():
                    states[callback.name] = json.loads(json.dumps(state))  # fails here what is no JSON data
        self.progress.callbacks = states

    def publish_metrics(self, metrics: Iterable[dict[str, Any]]) -> None:
        """Give metrics that came from the device to all callbacks, and count bad steps by them."""
        for measured in metrics:
            told = self._told(measured)
            self.progress.skipped += told["skipped"]
            bad = told["skipped"] and measured["reason"] != LEFT_OUT
            self.progress.bad_in_a_row = self.progress.bad_in_a_row + 1 if bad else 0
            for callback in self.callbacks:
                with naming_callback(callback.name):
                    callback.on_metrics(self, told)

    def flush_metrics(self) -> None:
        """Wait for the metrics of all steps, and hand them out."""
        self.publish_metrics(self.readback.drain())

    def _told(self, measured: dict[str, Any]) -> dict[str, Any]:
        """The line of a step: its reason is told only where it is bad."""
        metrics = dict(measured)
        reason = metrics.pop("reason")
        metrics["skipped"] = reason in REASONS
        tokens = metrics.pop("step_tokens")
        # A step that was left out read no token, in no time.
        metrics["tokens_per_second"] = None if reason == LEFT_OUT else tokens / metrics["seconds"]
        return {**metrics, "reason": REASONS[reason]} if metrics["skipped"] else metrics
