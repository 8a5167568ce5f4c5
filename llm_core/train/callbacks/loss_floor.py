"""Stops a run whose loss is too low to be true: the loader or the mask then leaks the targets."""

import lzma
import math
import statistics
from collections import deque
from typing import Any

import numpy as np

from llm_core.errors import PedigreeError
from llm_core.runtime_only import runtime_only
from llm_core.tokens.loader import Loader
from llm_core.tokens.reader import ShardReader
from llm_core.train.callbacks.bad_steps import BadBatches
from llm_core.train.callbacks.base import Callback
from llm_core.train.callbacks.run import Run
from llm_core.train.callbacks.spec import LossFloor

CHUNKS, CHUNK_TOKENS = 64, 4096
"""The sample that is compressed: this many chunks of this many tokens, spread evenly over a source."""


@runtime_only("reads losses, and can only end the run")
class StopAtLossFloor(Callback):
    """Stops a run whose loss is below the share ``loss_floor`` of the nats per token to which ``lzma`` compresses the
    same tokens.

    It judges the median of the last ``floor_steps`` training losses, in the first epoch only (later, a model may know
    its texts by heart), and every validation loss.
    """

    def __init__(self, spec: LossFloor) -> None:
        self._share = spec.share
        self._losses: deque[float] = deque(maxlen=spec.steps)
        self._compressed: float | None = None
        self._first_epoch = 0

    def on_start(self, run: Run) -> None:
        """Compress a sample of the text, once."""
        if self._compressed is None:
            self._compressed = run.world.from_main(mixture_nats(run.data.train) if run.world.is_main else None)
            self._first_epoch = steps_of_first_epoch(run.data.train, run.spec.training.steps)

    def on_metrics(self, run: Run, metrics: dict[str, Any]) -> None:
        """Raise ``PedigreeError`` when a loss is too low."""
        assert self._compressed is not None
        floor = self._share * self._compressed
        step = metrics["step"]
        if not metrics["skipped"]:
            self._losses.append(metrics["loss"])
        full = len(self._losses) == self._losses.maxlen
        if full and step <= self._first_epoch and statistics.median(self._losses) < floor:
            loss = statistics.median(self._losses)
            which = f"the median loss of steps {step - len(self._losses) + 1} to {step}"
        elif metrics.get("validation_loss", floor) < floor:
            loss = metrics["validation_loss"]
            which = f"the validation loss after step {step}"
        else:
            return
        reason = (
            f"{which} is {loss:.3f} nats per token, below {self._share:g} (training.guards.loss_floor) of the "
            f"{self._compressed:.3f} nats per token of lzma: too good to be true"
        )
        told = run.find(BadBatches).write(run, metrics, reason, "stopped", best=True)
        raise PedigreeError(f"{reason}. The model sees its targets: check the loader, the masks and the mixers. {told}")

    def state_dict(self) -> dict[str, Any]:
        """The last losses."""
        return {"losses": list(self._losses)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the last losses."""
        self._losses = deque(state["losses"], maxlen=self._losses.maxlen)


def compressed_nats(reader: ShardReader) -> float:
    """Nats per token to which ``lzma`` compresses a sample of the stream."""
    chunks = max(1, min(CHUNKS, reader.tokens // CHUNK_TOKENS))
    length = min(CHUNK_TOKENS, reader.tokens)
    starts = reader.start + np.arange(chunks, dtype=np.int64) * ((reader.tokens - length) // max(1, chunks - 1))
    tokens = reader.spans(starts, np.full(chunks, length, dtype=np.int64))
    content = tokens.astype("<u2" if reader.vocab_size <= 1 << 16 else "<u4").tobytes()
    return len(lzma.compress(content)) * 8 * math.log(2) / len(tokens)


def mixture_nats(loader: Loader) -> float:
    """The mean of ``compressed_nats`` over the sources of a run, weighted by their shares."""
    shares = [plan.share for plan in loader.planned(0)]
    return sum(share * compressed_nats(reader) for share, reader in zip(shares, loader.readers, strict=True))


def steps_of_first_epoch(loader: Loader, steps: int) -> int:
    """How many of ``steps`` steps come before any source is read a second time."""
    low, high = 0, steps
    while low < high:
        middle = (low + high + 1) // 2
        if all(plan.epochs <= 1 for plan in loader.planned(middle)):
            low = middle
        else:
            high = middle - 1
    return low
