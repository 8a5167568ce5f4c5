"""Says while a run trains that its held-out loss leaves the band of the forecast with which it was launched."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from llm_core.runtime_only import runtime_only
from llm_core.store.manifest import GateRecord


@runtime_only("watches a run")
class ForecastBand:
    """The band of the newest of ``gates`` that has a forecast: ``curve`` (``step``, ``low``, ``high``), and ``low``
    and ``high`` at the end. Without one, it is silent."""

    def __init__(self, gates: Sequence[GateRecord], steps: int, log: Callable[[str], None]) -> None:
        found = [record.results for record in gates if "curve" in record.results]
        self._curve: list[dict[str, float]] = found[-1]["curve"] if found else []
        self._end = (found[-1]["low"], found[-1]["high"]) if found else None
        self._steps, self._log, self._outside = steps, log, ""

    def watching(self, observe: Callable[[Mapping[str, Any]], None]) -> Callable[[Mapping[str, Any]], None]:
        """``observe``, which also looks at the metrics."""

        def both(metrics: Mapping[str, Any]) -> None:
            observe(metrics)
            self._look(metrics)

        return both

    def _look(self, metrics: Mapping[str, Any]) -> None:
        loss, step = metrics.get("validation_bits_per_byte"), int(metrics["step"])
        band = self.at(step)
        if loss is None or band is None:
            return
        side = "above" if loss > band[1] else "below" if loss < band[0] else ""
        if side != self._outside:
            place = f"step {step:,}: {loss:.4f} held-out bits per byte"
            told = f"the forecast's band of {band[0]:.4f} to {band[1]:.4f}"
            self._log(f"{place} is {side} {told}" if side else f"{place} is back in {told}")
        self._outside = side

    def at(self, step: int) -> tuple[float, float] | None:
        """The band at a step, between two steps of the curve by the logarithm of the step. None where it has none:
        before the first, and while the rate falls."""
        if step >= self._steps:
            return self._end
        for before, after in zip(self._curve, self._curve[1:], strict=False):
            if before["step"] <= step <= after["step"]:
                share = math.log(step / before["step"]) / math.log(after["step"] / before["step"])
                low, high = (before[name] + share * (after[name] - before[name]) for name in ("low", "high"))
                return low, high
        return None
