"""Adds MFU and memory to the metrics of every step."""

from typing import Any

from llm_core.model.superposition import bag_size
from llm_core.runtime_only import runtime_only
from llm_core.train.callbacks.base import Callback
from llm_core.train.callbacks.run import Run
from llm_core.train.utilization import mfu


@runtime_only("speed and memory, which are volatile")
class Machine(Callback):
    """Adds ``memory`` (peak bytes of the main rank so far) and, when the device's peak is known, ``mfu``."""

    def on_metrics(self, run: Run, metrics: dict[str, Any]) -> None:
        """Add them to ``metrics``."""
        spec, world = run.spec, run.world
        metrics["memory"] = world.device_type.peak_memory(world.device)
        if metrics["tokens_per_second"] is None:
            return
        step, device = metrics["step"] - 1, world.device_type.name(world.device)
        bag = bag_size(spec.training, step)  # the model works on positions
        length, speed = run.data.train.length_at(step) // bag, metrics["tokens_per_second"] / bag
        share = mfu(spec.model, spec.vocab_size, length, speed, device, world.size)
        if share is not None:
            metrics["mfu"] = share
