"""One process, or several that share the work: DDP or FSDP2 over gloo (CPU) or NCCL (CUDA)."""

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from llm_core.errors import PedigreeError
from llm_core.train.activation_checkpointing import checkpoint_activations
from llm_core.train.compiling import compile_blocks
from llm_core.train.fp8 import MULTIPLE, in_float8, require_float8
from llm_core.train.hardware import reshards, this_machine
from llm_core.train.parameter_groups import parameters_by_kind
from llm_core.train.spec import TrainerSpec
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


def spread(
    model: nn.Module, spec: TrainerSpec, world: World, log: Callable[[str], None] = lambda _line: None
) -> nn.Module:
    """``model`` on this rank's device, ready to be called. ``model`` itself keeps the names of its parameters.

    ``model.all_blocks`` are its repeated parts. In this order: products in fp8, recompute activations in the backward
    pass, compile each block, spread them. ``spec.parallel``: "ddp" (a copy on every rank; Li et al., 2020) or "fsdp2"
    (every parameter sharded, gathered block by block; Zhao et al., 2023).
    """
    model.to(world.device)
    blocks: list[nn.Module] = model.all_blocks  # type: ignore[assignment]
    model.attention_backend = spec.attention_backend  # type: ignore[assignment]
    if spec.expert_products == "looped":
        model.loop_experts()  # type: ignore[operator]
    if spec.training.precision == "fp8":
        require_float8(world.device)
        fitting, layers = in_float8(blocks)
        log(f"fp8: {fitting} of {layers} linear layers of the blocks (sides that are multiples of {MULTIPLE})")
    checkpoint_activations(blocks, spec.activation_checkpointing, spec.activation_checkpointing_every)
    if spec.compile:
        compile_blocks(blocks, log)
    if world.size == 1:
        return model
    if spec.parallel == "ddp":
        # Every parameter has a gradient in every micro-batch: those of experts that no token chose are 0.
        # Buffers (selection biases) follow from what all ranks know, and are equal without being sent around.
        return DistributedDataParallel(model, gradient_as_bucket_view=True, broadcast_buffers=False)
    return _sharded(model, blocks, spec, world)


def _sharded(model: nn.Module, blocks: list[nn.Module], spec: TrainerSpec, world: World) -> nn.Module:
    """FSDP2. With bf16 (or fp8), what blocks multiply is gathered in bf16, and all gradients are reduced in fp32.

    Those are the matrices whose bf16 copies autocast would make on every rank anyhow. Whatever else is in a block
    (gains, biases, decay rates, a router) is gathered in fp32, with embedding, head and final norm, and held until the
    step's end: so each number has the type that it has on one device, and so have activations.
    """
    mesh = init_device_mesh(world.device.type, (world.size,))
    in_bf16 = spec.training.precision != "fp32"
    policy = MixedPrecisionPolicy(
        param_dtype=torch.bfloat16 if in_bf16 else None, reduce_dtype=torch.float32, cast_forward_inputs=False
    )
    multiplied = {parameter for block in blocks for parameter in _multiplied(block)}
    numbers = sum(parameter.numel() for parameter in multiplied)
    memory = this_machine().memory // (1 if world.device.type == "cuda" else world.size)
    reshard = reshards(spec.reshard_after_forward, numbers * (2 if in_bf16 else 4), memory)
    # Blocks hand on keys and values that are views of larger tensors. Nobody changes these in place.
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view tensor")
    # The whole before its blocks: it takes nothing out of what is sharded already.
    fully_shard(model, mesh=mesh, reshard_after_forward=False, ignored_params=multiplied)
    for block in blocks:
        taken: set[nn.Parameter] = {parameter for parameter in block.parameters() if isinstance(parameter, DTensor)}
        fully_shard(block, mesh=mesh, mp_policy=policy, reshard_after_forward=reshard, ignored_params=taken)
    return model


def _multiplied(block: nn.Module) -> list[nn.Parameter]:
    """The matrices of ``block`` that autocast makes bf16 copies of: all but those that modules list as ``wide``."""
    wide = {module.get_parameter(name) for module in block.modules() for name in getattr(module, "wide", ())}
    return [parameter for parameter in parameters_by_kind(block).get("matrices", []) if parameter not in wide]


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
