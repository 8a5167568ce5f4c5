"""Judges every step on the device, from values that are equal on all ranks: good, not finite, or a spike."""

from typing import Any

import torch
from torch import Tensor

from llm_core.experiment.guards import GuardsSpec
from llm_core.train.metrics_log import LEFT_OUT_REASON

GOOD, LOSS, GRADIENT, LOSS_SPIKE, GRADIENT_SPIKE, LEFT_OUT = range(6)

REASONS = {
    LOSS: "the loss is not finite",
    GRADIENT: "the gradient is not finite",
    LOSS_SPIKE: "the loss is a spike",
    GRADIENT_SPIKE: "the gradient norm is a spike",
    LEFT_OUT: LEFT_OUT_REASON,
}
SPIKES = frozenset({LOSS_SPIKE, GRADIENT_SPIKE})


class RollBackError(Exception):
    """``step`` (from 1) was a spike: the run rolls back to before it. Raised on all ranks at once."""

    def __init__(self, step: int) -> None:
        super().__init__(step)
        self.step = step


class StepGuard:
    """Judges every step. It remembers the last good steps, and the steps that are left out after rollbacks.

    A spike is a loss or gradient norm more than ``spike_sigma`` standard deviations above the mean of the last
    ``spike_window`` good steps (OLMo 2 skips such steps: Walsh et al., 2024). Bad steps are not in the statistics.
    Nothing here waits for the device, except ``state_dict``.
    """

    def __init__(self, spec: GuardsSpec, device: torch.device) -> None:
        self._spec = spec
        self._last_2W = torch.zeros(2, spec.spike_window, device=device)  # ring buffers of losses and norms
        self._count = torch.zeros((), dtype=torch.int64, device=device)
        self._places_W = torch.arange(spec.spike_window, device=device)
        self.left_out: list[tuple[int, int]] = []
        """Ranges of steps (first and last, from 1) whose batches are not trained on."""
        self.rollbacks = 0

    def judge(self, loss: Tensor, norm: Tensor) -> Tensor:
        """``GOOD``, or the code of what is wrong with the step, as a 0-d fp32 tensor. Remembers good steps."""
        values_2 = torch.stack([loss.detach().float(), norm.detach().float()])
        finite_2 = values_2.isfinite()
        reason = _first_of(~finite_2, LOSS, GRADIENT)
        if self._spec.spike_sigma is None:
            return reason
        spike_2 = values_2 > self._limits_2(self._spec.spike_sigma)
        judged = self._count >= self._spec.spike_window // 2
        reason = torch.where((reason == GOOD) & judged, _first_of(spike_2, LOSS_SPIKE, GRADIENT_SPIKE), reason)
        good = reason == GOOD
        here_W = (self._places_W == self._count % self._spec.spike_window) & good
        self._last_2W = torch.where(here_W, values_2[:, None], self._last_2W)
        self._count = self._count + good
        return reason

    def forget(self) -> None:
        """Restart the statistics: from now on, losses measure something else."""
        self._count = torch.zeros_like(self._count)

    def _limits_2(self, sigma: float) -> Tensor:
        there_W = self._places_W < self._count
        number = self._count.clamp(1, self._spec.spike_window)
        mean_21 = (self._last_2W * there_W).sum(1, keepdim=True) / number
        variance_2 = ((self._last_2W - mean_21).square() * there_W).sum(1) / number
        return mean_21[:, 0] + sigma * variance_2.sqrt()

    def is_left_out(self, step: int) -> bool:
        """Whether ``step`` (from 1) is not trained on."""
        return any(first <= step <= last for first, last in self.left_out)

    def leave_out(self, spike: int) -> int:
        """Leave out the ``rollback_steps`` steps up to ``spike``; returns the last step before them."""
        first = max(1, spike - self._spec.rollback_steps + 1)
        self.left_out.append((first, spike))
        self.rollbacks += 1
        return first - 1

    def state_dict(self) -> dict[str, Any]:
        """JSON data that ``load_state_dict`` takes. Waits for the device."""
        return {
            "last": self._last_2W.tolist(),
            "count": int(self._count),
            "left_out": [list(span) for span in self.left_out],
            "rollbacks": self.rollbacks,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state of ``state_dict``."""
        self._last_2W = torch.tensor(state["last"], device=self._last_2W.device)
        self._count = torch.tensor(state["count"], device=self._count.device)
        self.left_out = [(first, last) for first, last in state["left_out"]]
        self.rollbacks = state["rollbacks"]


def _first_of(which_2: Tensor, loss: int, gradient: int) -> Tensor:
    """``loss`` if the first value is true, else ``gradient`` if the second is, else ``GOOD``."""
    return torch.where(which_2[0], float(loss), torch.where(which_2[1], float(gradient), float(GOOD)))
