"""The section about the guards of a run: bad steps, and losses that are too good to be true."""

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
"""The behaviour of runs before this section existed."""


class GuardsSpec(Spec):
    """Steps with a loss or gradient that is not finite are always skipped. These settings control the other guards.

    ``leak_probe``, ``loss_floor``, ``floor_steps`` and ``max_rollbacks`` can only stop a run, so they are not part of
    any identity: after a change of them, a stopped run continues from its checkpoint.
    """

    spike_sigma: Positive | None = None
    """A step is a spike when its loss or gradient norm is more than this many standard deviations above the mean of the
    last good steps. Without it, no step is a spike."""
    spike_window: Annotated[int, Field(ge=8)] = 128
    """The number of good steps for mean and deviation. No step is a spike before half as many good steps."""
    spike_action: Literal["skip", "rollback"] = "skip"
    """``skip``: ignore the spike's batch. ``rollback``: go back to a checkpoint before the spike, and continue without
    the batches that led to it (Chowdhery et al., 2022, section 5.1)."""
    rollback_steps: Count = 16
    """How many steps, up to and including the spike, are left out after a rollback."""
    max_rollbacks: Count = outside_identity(default=5)
    """A run that needs more rollbacks is stopped."""
    leak_probe: bool = outside_identity(default=True)
    """Checks before the first step, and before the first step with another sequence length, that no position sees
    later tokens or other documents."""
    loss_floor: Annotated[float, Field(gt=0, lt=1)] | None = outside_identity(default=0.2)
    """A loss below this share of ``lzma``'s compressed size of the same tokens is too good to be true, and stops the
    run. (The tiny experiment ends at 0.9 of that size.)"""
    floor_steps: Count = outside_identity(default=20)
    """The number of steps whose median loss is compared with the floor."""

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
