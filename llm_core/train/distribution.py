"""One process, or several that share the work: DDP or FSDP2 over gloo (CPU) or NCCL (CUDA)."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint

from llm_core.errors import PedigreeError
from llm_core.train.threads import threads_per_rank


@dataclass(frozen=True)
class World:
    """This process among those that train together."""

    rank: int
    size: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        """Whether this rank writes files and lines for people."""
        return self.rank == 0

    def total(self, value: Tensor) -> Tensor:
        """The sum of ``value`` over the ranks, on every rank."""
        if self.size > 1:
            value = value.clone()
            dist.all_reduce(value)
        return value

    def largest(self, value: float) -> float:
        """The largest ``value`` of all ranks, agreed on over the CPU: it waits for no accelerator."""
        if self.size == 1:
            return value
        shared = torch.tensor(value, dtype=torch.float64)
        dist.all_reduce(shared, dist.ReduceOp.MAX)
        return float(shared)

    def from_main(self, value: Any) -> Any:
        """What the main rank has as ``value``."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0, device=torch.device("cpu"))
        return box[0]

    def gathered(self, value: Any) -> list[Any]:
        """What every rank has as ``value``, in the order of ranks."""
        if self.size == 1:
            return [value]
        values = [None] * self.size
        dist.all_gather_object(values, value)
        return values


@contextmanager
def open_world() -> Iterator[World]:
    """Join the processes that torchrun started, or be alone."""
    rank, size, local = (int(os.environ.get(name, "0")) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
    size = max(size, 1)
    gpus = torch.cuda.device_count()
    if gpus and local >= gpus:
        raise PedigreeError(
            f"rank {rank} needs a GPU of its own, and this machine has {gpus}: start {gpus} ranks or fewer"
        )
    device = torch.device("cuda", local) if gpus else torch.device("cpu")
    if gpus:
        torch.cuda.set_device(device)
    elif size > 1:
        torch.set_num_threads(threads_per_rank(size))
    if size == 1:
        yield World(rank, size, device)
        return
    dist.init_process_group("cpu:gloo,cuda:nccl" if gpus else "gloo", device_id=device if gpus else None)
    try:
        yield World(rank, size, device)
    finally:
        dist.destroy_process_group()


def spread(model: nn.Module, world: World, parallel: str, compiled: bool, recompute: bool) -> nn.Module:
    """``model`` on this rank's device, ready to be called. ``model`` itself keeps the names of its parameters.

    ``model.blocks`` are its repeated parts. In this order: ``recompute`` their activations in the backward pass,
    compile each, spread them. ``parallel``: "ddp" (a copy on every rank; Li et al., 2020) or "fsdp2" (every parameter
    sharded, gathered block by block; Zhao et al., 2023).
    """
    model.to(world.device)
    blocks = list(model.blocks)  # type: ignore[arg-type]
    for block in blocks:
        if recompute:
            block.forward = _recomputed(block.forward)
        if compiled:
            block.compile()
    if world.size == 1:
        return model
    if parallel == "ddp":
        return DistributedDataParallel(model, gradient_as_bucket_view=True)
    mesh = init_device_mesh(world.device.type, (world.size,))
    for block in blocks:
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)
    return model


def _recomputed(forward: Callable[..., Tensor]) -> Callable[..., Tensor]:
    # A function of ours, and no partial: the compiler passes over code that begins in torch itself.
    def recomputed(*arguments: Any) -> Tensor:
        output: Tensor = checkpoint(forward, *arguments, use_reentrant=False)
        return output

    return recomputed


@contextmanager
def gradient_sync(model: nn.Module, last: bool) -> Iterator[None]:
    """Around a micro-batch: ranks exchange gradients in the ``last`` one of a step only."""
    if isinstance(model, DistributedDataParallel) and not last:
        with model.no_sync():
            yield
        return
    if isinstance(model, FSDPModule):
        model.set_requires_gradient_sync(last)
    yield
