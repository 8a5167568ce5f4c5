"""Reads batches in a thread and copies them to the device, ahead of the loop."""

import threading
from collections.abc import Iterator
from queue import Empty, Full, Queue
from types import TracebackType
from typing import NamedTuple

import torch
from torch import Tensor

from llm_core.tokens.loader import Loader
from llm_core.train.distribution import World

DEPTH = 2
"""The number of batches that wait, in addition to the one that is being read."""
_POLL_SECONDS = 0.1


class DeviceBatch(NamedTuple):
    """This rank's part of the batch of ``step`` (from 0), on the device. ``digest``: of the whole batch."""

    step: int
    inputs_BT: Tensor  # noqa: N815
    targets_BT: Tensor  # noqa: N815
    document_ids_BT: Tensor  # noqa: N815
    targets: int
    """The number of targets that count, over all ranks; with ``reference_BD``, of pairs."""
    digest: str
    copied: "torch.cuda.Event | None"
    """The end of the copies to the device; None on a CPU."""
    reference_BD: Tensor | None = None  # noqa: N815
    """Of pairs: the nats of each answer before the tuning (``Loader.reference``), in ``World.sum_dtype``."""

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All that is on the device."""
        found = (self.inputs_BT, self.targets_BT, self.document_ids_BT, self.reference_BD)
        return tuple(tensor for tensor in found if tensor is not None)

    def on(self, device: torch.device) -> "DeviceBatch":
        """The same batch on ``device``; nothing is copied when it is there already."""
        inputs_BT, targets_BT, ids_BT, *reference_BD = (tensor.to(device) for tensor in self.tensors)
        return self._replace(
            inputs_BT=inputs_BT,
            targets_BT=targets_BT,
            document_ids_BT=ids_BT,
            reference_BD=reference_BD[0] if reference_BD else None,
        )


class Prefetch:
    """Iterates over the batches of the steps ``first`` to ``last`` (excluded), in order. A context manager.

    On CUDA, batches go through pinned memory, and a separate stream copies them during the computation. The stream of
    the consumer waits for the copy; the host does not. Errors of the thread are raised in the consumer. The end of the
    context ends the thread.
    """

    def __init__(self, loader: Loader, first: int, last: int, world: World) -> None:
        self._loader, self._steps, self._world = loader, range(first, last), world
        self._queue: Queue[DeviceBatch | BaseException] = Queue(DEPTH)
        self._ended = threading.Event()
        self._stream = torch.cuda.Stream(world.device) if world.device.type == "cuda" else None
        self._thread = threading.Thread(target=self._run, name="prefetch", daemon=True)

    def __enter__(self) -> "Prefetch":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def __iter__(self) -> Iterator[DeviceBatch]:
        for _ in self._steps:
            ready = self._next()
            if ready.copied is not None:
                stream = torch.cuda.current_stream(self._world.device)
                stream.wait_event(ready.copied)
                for tensor in ready.tensors:
                    tensor.record_stream(stream)  # its memory is not reused while this stream reads it
            yield ready.on(self._world.device)  # MPS: torch gives all threads one stream, so this one copies

    def _next(self) -> DeviceBatch:
        while True:
            try:
                ready = self._queue.get(timeout=_POLL_SECONDS)
            except Empty:
                if not self._thread.is_alive() and self._queue.empty():
                    raise RuntimeError("the thread that reads batches has ended") from None
                continue
            if isinstance(ready, BaseException):
                raise ready
            return ready

    def _run(self) -> None:
        try:
            if self._stream is not None:  # by default, a thread uses memory on the first GPU
                torch.cuda.set_device(self._world.device)
            for step in self._steps:
                if not self._hand_over(self._ready(step)):
                    return
        except BaseException as error:
            self._hand_over(error)

    def _hand_over(self, item: DeviceBatch | BaseException) -> bool:
        """Put ``item`` into the queue; False when the consumer has ended."""
        while not self._ended.is_set():
            try:
                self._queue.put(item, timeout=_POLL_SECONDS)
            except Full:
                continue
            return True
        return False

    def _ready(self, step: int) -> DeviceBatch:
        place = (step, self._world.rank, self._world.size)
        parts = [torch.from_numpy(part) for part in self._loader.batch(*place)]
        pairs = self._loader.references[0] is not None
        if pairs:
            parts.append(torch.from_numpy(self._loader.reference(*place)).to(self._world.sum_dtype))
        count = self._loader.pairs(step) if pairs else self._loader.targets(step)
        (inputs_BT, targets_BT, ids_BT, *reference_BD), copied = self._on_device(parts)
        digest = self._loader.digest(step)
        return DeviceBatch(step, inputs_BT, targets_BT, ids_BT, count, digest, copied, *reference_BD)

    def _on_device(self, parts: list[Tensor]) -> tuple[list[Tensor], "torch.cuda.Event | None"]:
        if self._stream is None:
            return parts, None
        with torch.cuda.stream(self._stream):
            copies = [_pinned(tensor).to(self._world.device, non_blocking=True) for tensor in parts]
            copied = torch.cuda.Event()
            copied.record(self._stream)
        return copies, copied


def _pinned(tensor: Tensor) -> Tensor:
    """A contiguous copy in pinned memory: the copy of a strided view to the device would block the host."""
    return torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True).copy_(tensor)
