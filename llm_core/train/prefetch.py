"""Batches that are ready before they are asked for: read by a thread, and on the device when the loop comes to them."""

import threading
from collections.abc import Iterator
from queue import Empty, Full, Queue
from types import TracebackType
from typing import NamedTuple

import torch
from torch import Tensor

from llm_core.tokens.loader import Batch, Loader
from llm_core.train.distribution import World

DEPTH = 2
"""Batches that wait, beside the one that is being read."""
_PATIENCE = 0.1  # seconds after which a waiting thread looks whether it is still wanted


class DeviceBatch(NamedTuple):
    """This rank's part of the batch of ``step``, on the device; the other figures are of the whole batch."""

    step: int
    inputs_BT: Tensor  # noqa: N815
    targets_BT: Tensor  # noqa: N815
    document_ids_BT: Tensor  # noqa: N815
    targets: int
    """Targets that count, over all ranks."""
    digest: str
    copied: "torch.cuda.Event | None"
    """When the copies to the device are done."""


class Prefetch:
    """Iterates over the batches of the steps ``first`` to ``last`` (excluded), in order. A context manager.

    On CUDA, batches go through pinned memory and are copied on a stream of their own, beside the computation. The
    consumer's stream waits for the copy, the host does not. What goes wrong in the thread is raised to the consumer.
    Leaving the context ends the thread.
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
                for tensor in (ready.inputs_BT, ready.targets_BT, ready.document_ids_BT):
                    tensor.record_stream(stream)  # its memory is not given away while this stream reads it
            yield ready

    def _next(self) -> DeviceBatch:
        while True:
            try:
                ready = self._queue.get(timeout=_PATIENCE)
            except Empty:
                if not self._thread.is_alive() and self._queue.empty():
                    raise RuntimeError("the thread that reads batches is gone") from None
                continue
            if isinstance(ready, BaseException):
                raise ready
            return ready

    def _run(self) -> None:
        try:
            if self._stream is not None:  # a thread begins on the first GPU, where it would take room for itself
                torch.cuda.set_device(self._world.device)
            for step in self._steps:
                if not self._hand_over(self._ready(step)):
                    return
        except BaseException as error:
            self._hand_over(error)

    def _hand_over(self, item: DeviceBatch | BaseException) -> bool:
        """Whether it was taken; not when the consumer has left."""
        while not self._ended.is_set():
            try:
                self._queue.put(item, timeout=_PATIENCE)
            except Full:
                continue
            return True
        return False

    def _ready(self, step: int) -> DeviceBatch:
        batch = self._loader.batch(step, self._world.rank, self._world.size)
        tensors, copied = self._on_device(batch)
        return DeviceBatch(step, *tensors, self._loader.targets(step), self._loader.digest(step), copied)

    def _on_device(self, batch: Batch) -> tuple[tuple[Tensor, Tensor, Tensor], "torch.cuda.Event | None"]:
        inputs, targets, ids = (torch.from_numpy(part) for part in batch)
        if self._stream is None:
            return (inputs, targets, ids), None
        with torch.cuda.stream(self._stream):
            inputs, targets, ids = (
                _pinned(tensor).to(self._world.device, non_blocking=True) for tensor in (inputs, targets, ids)
            )
            copied = torch.cuda.Event()
            copied.record(self._stream)
        return (inputs, targets, ids), copied


def _pinned(tensor: Tensor) -> Tensor:
    """A copy in pinned memory, in one piece: for rows that are views of longer ones, the host would have to wait."""
    return torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True).copy_(tensor)
