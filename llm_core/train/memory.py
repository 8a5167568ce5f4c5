"""What to turn down when a GPU's memory is full."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from llm_core.errors import PedigreeError
from llm_core.train.distribution import World
from llm_core.train.spec import TrainerSpec

RUNTIME_ONLY = True

_GB = 1e9


@contextmanager
def told_of_memory(spec: TrainerSpec, world: World) -> Iterator[None]:
    """Turns torch's ``OutOfMemoryError`` into a ``PedigreeError`` that says what to turn down, and by how much."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        first = str(error).partition(". ")[0]
        raise PedigreeError(
            f"rank {world.rank}: the GPU's memory is full ({first}{_held(world.device)}): {_advice(spec, world)}. "
            "The result stays the same, and training goes on from the last checkpoint"
        ) from None


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
    if spec.activation_checkpointing == "none":
        steps.append(
            "set compute.activation_checkpointing to full, which keeps one activation a block, for a third more work"
        )
    if spec.parallel == "ddp" and world.size > 1:
        steps.append(
            f"set compute.parallel to fsdp2, which holds 1/{world.size} of the weights, gradients and moments on a rank"
        )
    if not steps:
        steps.append("use more ranks, or GPUs with more memory, or a smaller model")
    return "; or ".join(steps)
