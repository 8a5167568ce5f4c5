"""Copies the metrics of steps from the device to the host, without waiting for the newest step.

On CUDA, metrics are copied to pinned memory and read ``LAG`` steps later, so the device always has a step queued. The
lag is fixed, since all ranks must see the same metrics at the same point of their loops. On any other device, metrics
are read at once, and the host's clock is read when the device has done its work.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

LAG = 2
"""On CUDA: the number of steps after which the metrics of a step are read."""

Mark = float | torch.cuda.Event
"""A time stamp, of the host's clock or of the device."""


class _Pending(NamedTuple):
    known: dict[str, Any]
    names: list[str]
    values_N: Tensor  # noqa: N815
    begin: Mark
    end: Mark
    copied: torch.cuda.Event | None


class MetricsReadback:
    """Takes the metrics of steps as tensors on ``device``, and returns them as numbers of ``dtype``, in order.

    ``synchronize`` waits for the device, see ``DeviceType``. CUDA does not need it.
    """

    def __init__(
        self,
        device: torch.device,
        synchronize: Callable[[], None],
        dtype: torch.dtype = torch.float64,
        lag: int = LAG,
    ) -> None:
        self._cuda, self._synchronize, self._dtype = device.type == "cuda", synchronize, dtype
        self._lag = lag if self._cuda else 0
        self._pending: deque[_Pending] = deque()

    def mark(self) -> Mark:
        """The time at which the device has done all earlier work. On CUDA, without waiting for it."""
        if not self._cuda:
            self._synchronize()
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def put(self, known: Mapping[str, Any], measured: Mapping[str, Tensor], begin: Mark, end: Mark) -> None:
        """Add the metrics of one step: ``known`` to the host, and ``measured`` 0-d tensors on the device."""
        values_N, copied = torch.stack([value.detach().to(self._dtype) for value in measured.values()]), None
        if self._cuda:
            pinned_N = torch.empty(values_N.shape, dtype=values_N.dtype, pin_memory=True)
            values_N = pinned_N.copy_(values_N, non_blocking=True)
            copied = torch.cuda.Event()
            copied.record()
        self._pending.append(_Pending(dict(known), list(measured), values_N, begin, end, copied))

    def ready(self) -> Iterator[dict[str, Any]]:
        """The metrics of all steps except the newest ``lag``, with ``seconds`` from ``begin`` to ``end``."""
        while len(self._pending) > self._lag:
            yield self._read()

    def drain(self) -> Iterator[dict[str, Any]]:
        """The metrics of all remaining steps. Waits for the device."""
        while self._pending:
            yield self._read()

    def forget(self) -> None:
        """Drop all pending metrics: their steps will be repeated."""
        self._pending.clear()

    def _read(self) -> dict[str, Any]:
        step = self._pending.popleft()
        if step.copied is not None:
            step.copied.synchronize()
        return {
            **step.known,
            **dict(zip(step.names, step.values_N.tolist(), strict=True)),
            "seconds": _seconds(step.begin, step.end),
        }


def _seconds(begin: Mark, end: Mark) -> float:
    if isinstance(begin, float) and isinstance(end, float):
        return end - begin
    assert isinstance(begin, torch.cuda.Event)
    assert isinstance(end, torch.cuda.Event)
    return float(begin.elapsed_time(end)) / 1000
