"""A run, and what a callback of it is."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor
from torch.optim import Optimizer

from llm_core.model.decoder import Decoder
from llm_core.train.checkpoints import Progress
from llm_core.train.data import Data
from llm_core.train.distribution import World
from llm_core.train.figures import FigureReader
from llm_core.train.guards import LEFT_OUT, REASONS, StepGuard
from llm_core.train.prefetch import Ready
from llm_core.train.spec import TrainerSpec


class Callback:
    """Something that happens at certain moments of a run beside training.

    Every rank calls every method at the same point, so that methods may talk to other ranks. None is given weights to
    change. Figures are JSON values by name, ``step`` (from 1) among them.
    """

    name: ClassVar[str] = ""
    """Under which the state of a stateful one lies in a checkpoint."""

    def on_start(self, run: "Run") -> None:
        """Training is about to begin after ``run.progress.step``; once more whenever the run went back."""

    def before_step(self, run: "Run", batch: Ready) -> None:
        """The batch is there, and nothing was computed from it."""

    def after_step(self, run: "Run") -> dict[str, Tensor]:
        """The step is queued; ``run.progress`` counts it. Returns figures to go with it: 0-d tensors on the device."""
        return {}

    def on_figures(self, run: "Run", figures: dict[str, Any]) -> None:
        """The figures of a step are on the host: those of every step, in order, on CUDA some steps later."""

    def end_step(self, run: "Run", stopping: bool) -> None:
        """All is done for this step; ``stopping``: and it is the last one, of the run or for now."""

    def at_checkpoint(self, run: "Run") -> None:
        """A checkpoint is about to be written; the figures of all steps have been handed out."""

    def on_end(self, run: "Run", finished: bool) -> None:
        """The run is ``finished``, or stops here for now."""

    def state_dict(self) -> dict[str, Any]:
        """JSON data for the checkpoint; empty when there is nothing to keep."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on as the callback whose ``state_dict`` this is."""


@dataclass
class Run:
    """A run: what it is made of, and how far it is. ``model`` is the plain one, whose parameters keep their names."""

    spec: TrainerSpec
    world: World
    data: Data
    model: Decoder
    optimizer: Optimizer
    guard: StepGuard
    figures: FigureReader
    callbacks: list[Callback]
    progress: Progress
    log: Callable[[str], None]

    def go_on_from(self, progress: Progress) -> None:
        """Go on from a checkpoint, or from the start. Callbacks that it does not know begin afresh."""
        self.progress = progress
        if progress.step:
            self.data.train.restore(progress.data)
        states = progress.callbacks
        if "guard" in states:
            self.guard.load_state_dict(states["guard"])
        for callback in self.callbacks:
            if callback.name in states:
                callback.load_state_dict(states[callback.name])

    def keep_states(self) -> None:
        """Put the states of the guard and of all callbacks into ``progress``, for a checkpoint."""
        states = {callback.name: callback.state_dict() for callback in self.callbacks if callback.name}
        self.progress.callbacks = {"guard": self.guard.state_dict(), **states}

    def hand_out(self, figures: Iterable[dict[str, Any]]) -> None:
        """Give figures that came from the device to all callbacks, and count bad steps by them."""
        for measured in figures:
            told = self._told(measured)
            self.progress.skipped += told["skipped"]
            bad = told["skipped"] and measured["reason"] != LEFT_OUT
            self.progress.bad_in_a_row = self.progress.bad_in_a_row + 1 if bad else 0
            for callback in self.callbacks:
                callback.on_figures(self, told)

    def settle(self) -> None:
        """Wait for the figures of all steps, and hand them out."""
        self.hand_out(self.figures.drain())

    def _told(self, measured: dict[str, Any]) -> dict[str, Any]:
        """The line of a step: its reason is told only where it is bad."""
        figures = dict(measured)
        reason = figures.pop("reason")
        figures["skipped"] = reason in REASONS
        tokens = figures.pop("step_tokens")
        # A step that was left out read no token, in no time.
        figures["tokens_per_second"] = None if reason == LEFT_OUT else tokens / figures["seconds"]
        return {**figures, "reason": REASONS[reason]} if figures["skipped"] else figures
