"""The run object that callbacks get."""

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
    """Add the callback ``name`` to an unexpected exception."""
    try:
        yield
    except (PedigreeError, RollBackError):
        raise
    except Exception as error:
        if not hasattr(error, "__notes__"):  # the innermost callback only: checkpointing calls the others
            error.add_note(f"in the callback {name}")
        raise


@dataclass
class Run:
    """A training run: its parts and its progress. ``model`` has no DDP wrapper, so parameters keep their names."""

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
        """The callback of class ``kind``, which every run must have."""
        return next(callback for callback in self.callbacks if isinstance(callback, kind))

    def restore(self, progress: Progress) -> None:
        """Restore a checkpoint's or a start's progress. Callbacks without a state there start anew."""
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
        """Store the states of the guard and all callbacks in ``progress``, for a checkpoint."""
        states = {"guard": self.guard.state_dict()}
        for callback in self.callbacks:
            with naming_callback(callback.name):
                if state := callback.state_dict():
                    states[callback.name] = json.loads(json.dumps(state))  # raises here if it is not JSON data
        self.progress.callbacks = states

    def publish_metrics(self, steps: Iterable[dict[str, Any]]) -> None:
        """Count skipped and bad steps, and pass the metrics of each step to all callbacks."""
        for measured in steps:
            metrics = _as_logged(measured)
            self.progress.skipped += metrics["skipped"]
            bad = metrics["skipped"] and measured["reason"] != LEFT_OUT
            self.progress.bad_in_a_row = self.progress.bad_in_a_row + 1 if bad else 0
            for callback in self.callbacks:
                with naming_callback(callback.name):
                    callback.on_metrics(self, metrics)

    def flush_metrics(self) -> None:
        """Wait for the metrics of all steps, and publish them."""
        self.publish_metrics(self.readback.drain())


def _as_logged(measured: dict[str, Any]) -> dict[str, Any]:
    """The metrics of a step as callbacks get them. Only a skipped step has a ``reason``."""
    metrics = dict(measured)
    reason = metrics.pop("reason")
    metrics["skipped"] = reason in REASONS
    tokens = metrics.pop("step_tokens")
    # A step that is left out reads no tokens.
    metrics["tokens_per_second"] = None if reason == LEFT_OUT else tokens / metrics["seconds"]
    return {**metrics, "reason": REASONS[reason]} if metrics["skipped"] else metrics
