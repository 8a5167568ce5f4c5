"""Explains which settings to reduce when a GPU's memory is full."""

from collections.abc import Iterator
from contextlib import contextmanager

from llm_core.errors import PedigreeError
from llm_core.runtime_only import runtime_only
from llm_core.train.distribution import World
from llm_core.train.spec import TrainerSpec

_GB = 1e9


@runtime_only("words errors")
@contextmanager
def explain_out_of_memory(spec: TrainerSpec, world: World) -> Iterator[None]:
    """Turn torch's error for full memory into a ``PedigreeError`` with the settings to reduce, and by how much."""
    try:
        yield
    except RuntimeError as error:
        if not world.device_type.is_out_of_memory(error):
            raise
        first = ". ".join(str(error).split(". ")[:2])  # the second sentence has the size of the request
        raise PedigreeError(
            f"rank {world.rank}: the GPU's memory is full ({first}{_peak(world)}): {_remedies(spec, world)}. "
            f"{_consequence(spec)} from the last checkpoint"
        ) from None


def _consequence(spec: TrainerSpec) -> str:
    """Balancing losses and dropout depend on the micro-batch; nothing else does."""
    balanced = any(layer.feed_forward is not None and layer.feed_forward.has_own_loss() for layer in spec.model.layers)
    dropout = spec.model.dropout or any(getattr(layer.mixer, "dropout", 0) for layer in spec.model.layers)
    if balanced or dropout:
        return "Training resumes"
    return "The result stays the same up to rounding, and training resumes"


def _peak(world: World) -> str:
    if world.device_type.shared:
        return ""
    peak, total = world.device_type.peak_memory(world.device), world.device_type.machine().memory
    return f"; {peak / _GB:.1f} of {total / _GB:.1f} GB at the peak"


def _remedies(spec: TrainerSpec, world: World) -> str:
    """The settings to change, from the least to the most expensive in speed."""
    steps = []
    rows = min(spec.micro_batch, spec.training.batch_size // world.size)
    if rows > 1:
        steps.append(
            f"set compute.micro_batch {spec.micro_batch} → {rows // 2}, which halves the memory of activations "
            "and logits"
        )
    mode = spec.activation_checkpointing
    if mode == "none":
        steps.append(
            "set compute.activation_checkpointing to selective, which stores only the results of large products and of "
            "attention"
        )
    if mode != "full":
        every = ", without activation_checkpointing_every" if mode == "every_nth" else ""
        steps.append(
            f"set compute.activation_checkpointing to full{every}, which stores one activation per block, for a third "
            "more work"
        )
    if spec.parallel == "ddp" and world.size > 1:
        steps.append(
            f"set compute.parallel to fsdp2, which stores 1/{world.size} of the weights, gradients and moments per rank"
        )
    if spec.parallel == "fsdp2" and world.size > 1 and spec.reshard_after_forward != "always":
        steps.append(
            f"set compute.reshard_after_forward {spec.reshard_after_forward} → always, which stores the gathered "
            "matrices of at most two blocks"
        )
    if not steps:
        larger = "a machine" if world.device_type.process_group is None else "more ranks, or GPUs"
        steps.append(f"use {larger} with more memory, or a smaller model")
    return "; or ".join(steps)
