"""The base class of callbacks. Plug-ins may import this module without torch.

A new callback needs: a subclass of ``Callback`` with methods for some events; a subclass of
``llm_core.experiment.callbacks.CallbackSpec`` with its name and settings, which builds it; and an entry in the registry
``CALLBACKS``. ``docs/callbacks.md`` has a complete example.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from llm_core.train.callbacks.run import Run
    from llm_core.train.prefetch import DeviceBatch


class Callback:
    """Acts at certain events of a run. All methods do nothing unless overridden.

    The order within a step: ``before_step``, forward and backward passes, ``before_update``, the optimiser's step,
    ``after_step``, ``on_metrics`` (on CUDA some steps later), ``end_step``.

    - All ranks call all methods at the same point, so methods may communicate with other ranks. Only the main rank
      writes files (``run.world.is_main``).
    - Callbacks must not change weights, gradients, the optimiser's state or the data. They may run the model under
      ``torch.no_grad()``, and draw random numbers: every step is seeded anew.
    - ``metrics`` are JSON values by name, including ``step`` (from 1).
    - To stop the run, raise ``PedigreeError`` with a remedy on every rank. Any other exception stops the run with a
      message that names the callback.
    """

    name: str = ""
    """Its kind. Errors use it, and checkpoints store the state under it. The run sets it."""

    def on_start(self, run: "Run") -> None:
        """Training starts after ``run.progress.step``. Called again after every rollback."""

    def before_step(self, run: "Run", batch: "DeviceBatch") -> None:
        """The batch is on the device; the forward pass has not started."""

    def before_update(self, run: "Run") -> None:
        """Gradients are those of the whole batch, clipped; the optimiser has not stepped. Not called for steps that are
        left out after a rollback."""

    def after_step(self, run: "Run") -> "dict[str, Tensor]":
        """The step is queued; ``run.progress`` counts it. Returns additional metrics: 0-d tensors on the device."""
        return {}

    def on_metrics(self, run: "Run", metrics: dict[str, Any]) -> None:
        """The metrics of a step are on the host. Called for every step in order, on CUDA some steps later. Callbacks of
        the phase ``ADDS_METRICS`` may add metrics."""

    def end_step(self, run: "Run", stopping: bool) -> None:
        """The step is done. ``stopping``: it is the last one, of the run or before a stop."""

    def at_checkpoint(self, run: "Run") -> None:
        """A checkpoint is about to be written. ``on_metrics`` was called for all steps."""

    def on_end(self, run: "Run", finished: bool) -> None:
        """The run is ``finished``, or stops to be resumed later."""

    def state_dict(self) -> dict[str, Any]:
        """JSON data for the checkpoint; empty when there is no state."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state of ``state_dict``. Called only when the checkpoint has one."""


EVENTS = tuple(name for name in vars(Callback) if name.startswith(("on_", "before_", "after_", "end_", "at_")))
"""The names of the methods that a run calls at its events."""
