"""A loss that is too good to be true is a leak: in the loader, or in the mask."""

import statistics
from collections import deque
from typing import Any

from llm_core.errors import PedigreeError
from llm_core.runtime_only import runtime_only
from llm_core.train.callbacks.bad_steps import BadBatches
from llm_core.train.callbacks.base import Callback
from llm_core.train.callbacks.run import Run
from llm_core.train.callbacks.spec import LossFloor
from llm_core.train.floor import run_nats, steps_of_first_epoch


@runtime_only("reads losses, and can only end the run")
class TooGood(Callback):
    """Stops a run whose loss is below ``loss_floor`` of what ``lzma`` makes of its tokens.

    The median of the last ``floor_steps`` training losses counts in the first epoch (later, a model may know its texts
    by heart), and the loss on held-out text always.
    """

    def __init__(self, spec: LossFloor) -> None:
        self._share = spec.share
        self._losses: deque[float] = deque(maxlen=spec.steps)
        self._nats: float | None = None
        self._first_epoch = 0

    def on_start(self, run: Run) -> None:
        """Measure the text, once."""
        if self._nats is None:
            self._nats = run.world.from_main(run_nats(run.data.train) if run.world.is_main else None)
            self._first_epoch = steps_of_first_epoch(run.data.train, run.spec.training.steps)

    def on_figures(self, run: Run, figures: dict[str, Any]) -> None:
        """Raises ``PedigreeError`` when a loss is too low."""
        assert self._nats is not None
        floor = self._share * self._nats
        step = figures["step"]
        if not figures["skipped"]:
            self._losses.append(figures["loss"])
        full = len(self._losses) == self._losses.maxlen
        if full and step <= self._first_epoch and statistics.median(self._losses) < floor:
            loss = statistics.median(self._losses)
            which = f"the median loss of steps {step - len(self._losses) + 1} to {step}"
        elif figures.get("validation_loss", floor) < floor:
            loss = figures["validation_loss"]
            which = f"the loss on held-out text after step {step}"
        else:
            return
        reason = (
            f"{which} is {loss:.3f} nats a token, below {self._share:g} (training.guards.loss_floor) of the "
            f"{self._nats:.3f} that lzma needs: too good to be true"
        )
        told = run.find(BadBatches).write(run, figures, reason, "stopped", best=True)
        raise PedigreeError(
            f"{reason}. Something shows the model its targets: look at the loader, the masks and the mixers. {told}"
        )

    def state_dict(self) -> dict[str, Any]:
        """The last losses."""
        return {"losses": list(self._losses)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with the last losses."""
        self._losses = deque(state["losses"], maxlen=self._losses.maxlen)
