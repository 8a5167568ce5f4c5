"""No run begins on a mask that leaks, or on targets that are shifted wrongly."""

from llm_core.errors import PedigreeError
from llm_core.train.callbacks.base import Callback, Run
from llm_core.train.prefetch import Ready
from llm_core.train.probe import Leak, find_leak, shifted_wrongly
from llm_core.train.suspects import documents_of, how_to_ask, in_words

RUNTIME_ONLY = True


class LeakProbe(Callback):
    """Examines the first batch, and the first one of another length."""

    def __init__(self) -> None:
        self._length: int | None = None

    def before_step(self, run: Run, batch: Ready) -> None:
        """Raises ``PedigreeError`` on every rank when one finds a leak."""
        spec = run.spec
        batch_BT = batch.inputs_BT, batch.targets_BT, batch.document_ids_BT
        length = batch.inputs_BT.shape[1]
        if length == self._length:
            return
        self._length = length
        wrong = shifted_wrongly(*batch_BT)
        leak = None
        if wrong is None:
            leak = find_leak(
                run.model,
                *batch_BT,
                vocab_size=spec.vocab_size,
                document_mask=spec.model.document_mask,
                precision=spec.training.precision,
                routed=any(layer.feed_forward == "moe" for layer in spec.model.layers),
                micro_batch=min(spec.micro_batch * spec.training.sequence_length // length, len(batch.inputs_BT)),
            )
        texts = run.world.gathered(_told(run, batch, wrong, leak))
        for text in texts:
            if text:
                raise PedigreeError(text)


def _told(run: Run, batch: Ready, wrong: tuple[int, int] | None, leak: Leak | None) -> str | None:
    """What is wrong, in words."""
    if wrong is None and leak is None:
        return None
    row, place = wrong if wrong is not None else (leak.row, leak.reader) if leak is not None else (0, 0)
    sequence = row * run.world.size + run.world.rank
    where = f"step {batch.step + 1}, sequence {sequence} of the batch (row {row} of rank {run.world.rank})"
    pieces = documents_of(run.data.train, batch.step, [sequence])
    read = f"It read {in_words(pieces[:8])}{how_to_ask(run.spec, batch.step + 1)}"
    if leak is None:
        return (
            f"{where}: the target of position {place} is not the token that follows it: the loader shifts targets "
            f"wrongly, and no step was made. {read}"
        )
    first, last = leak.changed
    return (
        f"{where}: position {place} sees {leak.what}: with other tokens at positions {first} to {last}, its state "
        f"changed by {leak.size:.1%}. The mask or a mixer leaks, and no step was made "
        f"(training.guards.leak_probe). {read}"
    )
