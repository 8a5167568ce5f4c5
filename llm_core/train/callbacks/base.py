"""What a callback is. A plug-in may import this page without torch.

To write one: a class of ``Callback`` with the methods for the moments that matter, a class of
``llm_core.experiment.callbacks.CallbackSpec`` that says its name and settings and builds it, and a line in the registry
``CALLBACKS``. ``docs/callbacks.md`` has a whole one.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from llm_core.train.callbacks.run import Run
    from llm_core.train.prefetch import DeviceBatch


class Callback:
    """Something that happens at certain moments of a run beside training. All methods do nothing unless overridden.

    A step, in order: ``before_step``, forward and backward passes, ``before_update``, the optimiser, ``after_step``,
    ``on_metrics`` (on CUDA some steps later), ``end_step``.

    - Every rank calls every method at the same point, so that methods may talk to other ranks. Files are written on the
      main rank alone (``run.world.is_main``).
    - Callbacks must not change weights, gradients, the optimiser's state or the data. They may run the model, under
      ``torch.no_grad()``; random draws of theirs change nothing, since every step is seeded anew.
    - Metrics are JSON values by name, ``step`` (from 1) among them.
    - To stop the run, raise ``PedigreeError`` on every rank, with what to do. Any other exception ends the run with a
      message that names the callback.
    """

    name: str = ""
    """Its kind: what errors call it, and under which a checkpoint keeps its state. The run sets it."""

    def on_start(self, run: "Run") -> None:
        """Training is about to begin after ``run.progress.step``; once more whenever the run went back."""

    def before_step(self, run: "Run", batch: "DeviceBatch") -> None:
        """The batch is there, and nothing was computed from it."""

    def before_update(self, run: "Run") -> None:
        """``grad`` of all parameters is that of the whole batch, and clipped; the optimiser has not moved. Not called
        for steps that are left out after a rollback."""

    def after_step(self, run: "Run") -> "dict[str, Tensor]":
        """The step is queued; ``run.progress`` counts it. Returns metrics to go with it: 0-d tensors on the device."""
        return {}

    def on_metrics(self, run: "Run", metrics: dict[str, Any]) -> None:
        """The metrics of a step are on the host: those of every step, in order, on CUDA some steps later. Callbacks of
        the phase ``ADDS_METRICS`` may add to them."""

    def end_step(self, run: "Run", stopping: bool) -> None:
        """All is done for this step; ``stopping``: and it is the last one, of the run or for now."""

    def at_checkpoint(self, run: "Run") -> None:
        """A checkpoint is about to be written; the metrics of all steps have been handed out."""

    def on_end(self, run: "Run", finished: bool) -> None:
        """The run is ``finished``, or stops here for now."""

    def state_dict(self) -> dict[str, Any]:
        """JSON data for the checkpoint; empty when there is nothing to keep."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on as the callback whose ``state_dict`` this is. Only called where there is one."""
