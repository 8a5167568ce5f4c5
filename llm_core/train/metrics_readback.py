"""Metrics of steps on their way from the device to the host: the loop never waits for the step that it has just begun.

On CUDA, metrics are copied to pinned memory and read ``LAG`` steps later, so that the device always has a step queued.
The lag is fixed, and not "whatever has arrived": ranks must see the same metrics at the same point of their loops. On a
CPU there is nothing to wait for, and metrics are read at once.
"""

import time
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

LAG = 2
"""Steps on CUDA between a step and the reading of its metrics."""

Mark = float | torch.cuda.Event
"""A moment: of the host's clock, or of the device's."""


class _Underway(NamedTuple):
    known: dict[str, Any]
    names: list[str]
    values_N: Tensor  # noqa: N815
    begin: Mark
    end: Mark
    copied: torch.cuda.Event | None


class MetricsReadback:
    """Takes the metrics of steps as tensors on ``device``, and gives them back as numbers, in order."""

    def __init__(self, device: torch.device, lag: int = LAG) -> None:
        self._cuda = device.type == "cuda"
        self._lag = lag if self._cuda else 0
        self._underway: deque[_Underway] = deque()

    def mark(self) -> Mark:
        """This moment, on the clock by which steps are timed: the device's own, where it has one."""
        if not self._cuda:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def put(self, known: Mapping[str, Any], measured: Mapping[str, Tensor], begin: Mark, end: Mark) -> None:
        """The metrics of one step: what the host knows, 0-d tensors, and when the step began and ended."""
        values_N, copied = torch.stack([value.detach().double() for value in measured.values()]), None
        if self._cuda:
            pinned_N = torch.empty(values_N.shape, dtype=values_N.dtype, pin_memory=True)
            values_N = pinned_N.copy_(values_N, non_blocking=True)
            copied = torch.cuda.Event()
            copied.record()
        self._underway.append(_Underway(dict(known), list(measured), values_N, begin, end, copied))

    def arrived(self) -> Iterator[dict[str, Any]]:
        """What is old enough to be read without a wait for the newest steps; with ``seconds`` from begin to end."""
        while len(self._underway) > self._lag:
            yield self._read()

    def drain(self) -> Iterator[dict[str, Any]]:
        """All that is left. Waits for the device."""
        while self._underway:
            yield self._read()

    def forget(self) -> None:
        """Drop what is underway: the steps are about to be made again."""
        self._underway.clear()

    def _read(self) -> dict[str, Any]:
        step = self._underway.popleft()
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
