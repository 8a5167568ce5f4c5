"""The section that describes the guards of a run: what a bad step is, and what stops a run that is too good."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from llm_core.experiment.base import Count, Spec, outside_identity

Positive = Annotated[float, Field(gt=0)]


NO_GUARDS = {
    "spike_sigma": None,
    "spike_window": 128,
    "spike_action": "skip",
    "rollback_steps": 16,
}
"""What runs had before this section was there."""


class GuardsSpec(Spec):
    """Steps with a loss or a gradient that is not finite are skipped always; the rest is set here.

    Probe, floor and ``max_rollbacks`` can only stop a run, so they are no part of any identity: a run that was stopped
    goes on from its checkpoint when they are changed.
    """

    spike_sigma: Positive | None = None
    """A step is a spike when its loss or its gradient norm lies more than so many standard deviations above the mean of
    the last good steps. Without it, nothing is."""
    spike_window: Annotated[int, Field(ge=8)] = 128
    """Good steps that mean and deviation are taken over; nothing is a spike before half as many were made."""
    spike_action: Literal["skip", "rollback"] = "skip"
    """``skip``: the spike's batch changes nothing. ``rollback``: the run goes back to before it, and on without the
    batches that led there (Chowdhery et al., 2022, section 5.1)."""
    rollback_steps: Count = 16
    """The last so many steps, the spike's among them, are left out after a rollback."""
    max_rollbacks: Count = outside_identity(default=5)
    """A run that would have to go back more often is stopped."""
    leak_probe: bool = outside_identity(default=True)
    """Before the first step, and before the first one of another length: what later tokens and other documents hold
    must not change what a position sees."""
    loss_floor: Annotated[float, Field(gt=0, lt=1)] | None = outside_identity(default=0.2)
    """A loss below this share of what ``lzma`` makes of the same tokens is too good to be true, and stops the run. (The
    tiny experiment ends at 0.9 of it.)"""
    floor_steps: Count = outside_identity(default=20)
    """It is the median loss of so many steps that counts."""

    @model_validator(mode="after")
    def _rollback_needs_spikes(self) -> "GuardsSpec":
        if self.spike_action == "rollback" and self.spike_sigma is None:
            raise ValueError("spike_action 'rollback' needs spike_sigma: without it no step is a spike")
        needs = {"spike_window": "spike_sigma"} if self.spike_sigma is None else {}
        if self.spike_action != "rollback":
            needs |= dict.fromkeys(("rollback_steps", "max_rollbacks"), "spike_action 'rollback'")
        for name, needed in needs.items():
            value = getattr(self, name)
            if value != type(self).model_fields[name].default:
                raise ValueError(f"{name} {value} does nothing without {needed}: set that too, or leave {name} out")
        return self
