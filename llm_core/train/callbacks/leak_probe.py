"""Stops a run before its first step if a mask leaks or targets are shifted wrongly."""

from llm_core.errors import PedigreeError
from llm_core.runtime_only import runtime_only
from llm_core.train.batch_provenance import describe_pieces, documents_of, why_command
from llm_core.train.callbacks.base import Callback
from llm_core.train.callbacks.run import Run
from llm_core.train.leak_detection import NotFiniteError, find_leak, shifted_wrongly
from llm_core.train.prefetch import DeviceBatch
from llm_core.train.spec import CHECKPOINTS


@runtime_only("reads the model before the first step, and can only end the run")
class LeakProbe(Callback):
    """Examines the first batch, and the first one of every other length."""

    def __init__(self) -> None:
        self._length: int | None = None

    def before_step(self, run: Run, batch: DeviceBatch) -> None:
        """Raises ``PedigreeError`` on every rank when one finds a leak."""
        length = batch.inputs_BT.shape[1]
        if length == self._length:
            return
        self._length = length
        for text in run.world.gathered(_message(run, batch)):
            if text:
                raise PedigreeError(text)


def _message(run: Run, batch: DeviceBatch) -> str | None:
    """A message about the problem, if any."""
    found = _problem(run, batch)
    if found is None:
        return None
    row, problem = found
    sequence = row * run.world.size + run.world.rank
    pieces = documents_of(run.data.train, batch.step, [sequence])
    return (
        f"step {batch.step + 1}, sequence {sequence} of the batch (row {row} of rank {run.world.rank}): {problem}. "
        f"It read {describe_pieces(pieces[:8])}{why_command(run.spec, batch.step + 1)}"
    )


def _problem(run: Run, batch: DeviceBatch) -> tuple[int, str] | None:
    """The row with the worst problem, and the problem."""
    spec = run.spec
    batch_BT = batch.inputs_BT, batch.targets_BT, batch.document_ids_BT
    wrong = shifted_wrongly(*batch_BT)
    rows = min(spec.micro_batch * spec.training.sequence_length // batch.inputs_BT.shape[1], len(batch.inputs_BT))
    try:
        # Run it even if the shift is wrong: under FSDP2, other ranks wait for this rank's forward passes.
        leak = find_leak(
            run.model,
            *batch_BT,
            vocab_size=spec.vocab_size,
            document_mask=spec.model.document_mask,
            precision=spec.training.precision,
            routed=any(layer.feed_forward is not None and layer.feed_forward.routes for layer in spec.model.layers),
            micro_batch=rows,
        )
    except NotFiniteError as error:
        return error.row, (
            f"the state of position {error.position} is not finite: the weights are not finite, or so large that sums "
            f"overflow; the step did not run (training.guards.leak_probe). Remove the newest folder in "
            f"{spec.work / CHECKPOINTS}: training resumes from the one before; if there is none, check "
            "training.optimizer.lr and model.init_std"
        )
    if wrong is not None:
        return wrong[0], (
            f"the target of position {wrong[1]} is not the token that follows it: the loader shifts targets wrongly; "
            "no step ran"
        )
    if leak is None:
        return None
    first, last = leak.changed
    return leak.row, (
        f"position {leak.reader} sees {leak.what}: with other tokens at positions {first} to {last}, its state changed "
        f"by {leak.size:.1%}. The mask or a mixer leaks; no step ran (training.guards.leak_probe)"
    )
