"""What to turn down when a GPU's memory is full."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from llm_core.errors import PedigreeError
from llm_core.runtime_only import runtime_only
from llm_core.train.distribution import World
from llm_core.train.spec import TrainerSpec

_GB = 1e9


@runtime_only("words errors")
@contextmanager
def explain_out_of_memory(spec: TrainerSpec, world: World) -> Iterator[None]:
    """Turns torch's ``OutOfMemoryError`` into a ``PedigreeError`` that says what to turn down, and by how much."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        first = ". ".join(str(error).split(". ")[:2])  # the second sentence says how much was wanted
        raise PedigreeError(
            f"rank {world.rank}: the GPU's memory is full ({first}{_held(world.device)}): {_advice(spec, world)}. "
            f"{_promise(spec)} from the last checkpoint"
        ) from None


def _promise(spec: TrainerSpec) -> str:
    """A balancing loss and dropout depend on how batches are cut; all else does not."""
    balanced = any(layer.feed_forward is not None and layer.feed_forward.has_own_loss() for layer in spec.model.layers)
    dropout = spec.model.dropout or any(getattr(layer.mixer, "dropout", 0) for layer in spec.model.layers)
    if balanced or dropout:
        return "Training goes on"
    return "The result stays the same up to rounding, and training goes on"


def _held(device: torch.device) -> str:
    if device.type != "cuda":
        return ""
    total = torch.cuda.get_device_properties(device).total_memory
    return f"; {torch.cuda.max_memory_allocated(device) / _GB:.1f} of {total / _GB:.1f} GB were held at most"


def _advice(spec: TrainerSpec, world: World) -> str:
    """From what costs least speed to what costs most."""
    steps = []
    rows = min(spec.micro_batch, spec.training.batch_size // world.size)
    if rows > 1:
        steps.append(
            f"set compute.micro_batch {spec.micro_batch} → {rows // 2}, which needs half the memory of activations "
            "and logits"
        )
    mode = spec.activation_checkpointing
    if mode == "none":
        steps.append(
            "set compute.activation_checkpointing to selective, which keeps the results of large products and of "
            "attention alone"
        )
    if mode != "full":
        every = ", without activation_checkpointing_every" if mode == "every_nth" else ""
        steps.append(
            f"set compute.activation_checkpointing to full{every}, which keeps one activation a block, for a third "
            "more work"
        )
    if spec.parallel == "ddp" and world.size > 1:
        steps.append(
            f"set compute.parallel to fsdp2, which holds 1/{world.size} of the weights, gradients and moments on a rank"
        )
    if spec.parallel == "fsdp2" and world.size > 1 and spec.reshard_after_forward != "always":
        steps.append(
            f"set compute.reshard_after_forward {spec.reshard_after_forward} → always, which holds the gathered "
            "matrices of two blocks at most"
        )
    if not steps:
        steps.append("use more ranks, or GPUs with more memory, or a smaller model")
    return "; or ".join(steps)
