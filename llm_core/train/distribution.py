"""One process, or several that share the work by DDP or FSDP2."""

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
from llm_core.train.devices.device_type import DeviceType
from llm_core.train.fp8 import MULTIPLE, in_float8, require_float8
from llm_core.train.hardware import reshards
from llm_core.train.parameter_groups import parameters_by_kind
from llm_core.train.spec import TrainerSpec
from llm_core.train.this_machine import AUTO, chosen_device_type, device_type


@dataclass(frozen=True)
class World:
    """This process among those of a run."""

    rank: int
    size: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        """Whether this rank writes the files and the log."""
        return self.rank == 0

    @property
    def device_type(self) -> DeviceType:
        """The type of this rank's device."""
        return device_type(self.device.type)

    @property
    def sum_dtype(self) -> torch.dtype:
        """The type of sums over many values on the device: fp64 where it has that, else fp32."""
        return torch.float64 if self.device_type.has_float64 else torch.float32

    def total(self, value: Tensor) -> Tensor:
        """The sum of ``value`` over the ranks, on every rank."""
        if self.size > 1:
            value = value.clone()
            dist.all_reduce(value)
        return value

    def largest(self, value: float) -> float:
        """The largest ``value`` of all ranks. The ranks exchange it over the CPU, so no device waits."""
        if self.size == 1:
            return value
        shared = torch.tensor(value, dtype=torch.float64)
        dist.all_reduce(shared, dist.ReduceOp.MAX)
        return float(shared)

    def from_main(self, value: Any) -> Any:
        """The ``value`` of the main rank."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0, device=torch.device("cpu"))
        return box[0]

    def gathered(self, value: Any) -> list[Any]:
        """The ``value`` of every rank, in the order of ranks."""
        if self.size == 1:
            return [value]
        values = [None] * self.size
        dist.all_gather_object(values, value)
        return values


@contextmanager
def open_world(wanted: str = AUTO) -> Iterator[World]:
    """Join the processes that torchrun started, or train alone, on a device of the type ``wanted``.

    ``PedigreeError`` when this machine has no such device, or too few for its ranks.
    """
    rank, size, local = (int(os.environ.get(name, "0")) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
    size = max(size, 1)
    chosen = chosen_device_type(wanted)
    device = chosen.open(local, size)
    if size == 1:
        yield World(rank, size, device)
        return
    dist.init_process_group(chosen.process_group, device_id=None if chosen.shared else device)
    try:
        yield World(rank, size, device)
    finally:
        dist.destroy_process_group()


def spread(
    model: nn.Module, spec: TrainerSpec, world: World, log: Callable[[str], None] = lambda _line: None
) -> nn.Module:
    """Move ``model`` to this rank's device, and return what to call. The parameters of ``model`` keep their names.

    ``model.all_blocks`` are its repeated parts. The order is: fp8 products, activation checkpointing, compiled blocks,
    ranks. ``spec.parallel``: "ddp" (a copy on every rank; Li et al., 2020) or "fsdp2" (every parameter is sharded and
    gathered block by block; Zhao et al., 2023).
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
        if not world.device_type.compiles:
            raise PedigreeError(f"compute.compile: not on a device of type {world.device.type}; write false")
        compile_blocks(blocks, log)
    if world.size == 1:
        return model
    if spec.parallel == "ddp":
        # Every parameter has a gradient in every micro-batch; it is 0 for experts that no token chose. Buffers
        # (selection biases) follow from values that all ranks know, so they are equal without a broadcast.
        return DistributedDataParallel(model, gradient_as_bucket_view=True, broadcast_buffers=False)
    return _sharded(model, blocks, spec, world)


def _sharded(model: nn.Module, blocks: list[nn.Module], spec: TrainerSpec, world: World) -> nn.Module:
    """Shard with FSDP2. In bf16 and fp8, the matrices of blocks are gathered in bf16; gradients are reduced in fp32.

    Autocast would make bf16 copies of these matrices on every rank anyway. The other parameters of a block (gains,
    biases, decay rates, a router) are gathered in fp32 together with embedding, head and final norm, and kept until the
    end of the step. So all parameters and activations have the type that they have on one device.
    """
    mesh = init_device_mesh(world.device.type, (world.size,))
    in_bf16 = spec.training.precision != "fp32"
    policy = MixedPrecisionPolicy(
        param_dtype=torch.bfloat16 if in_bf16 else None, reduce_dtype=torch.float32, cast_forward_inputs=False
    )
    multiplied = {parameter for block in blocks for parameter in _multiplied(block)}
    numbers = sum(parameter.numel() for parameter in multiplied)
    memory = world.device_type.machine().memory // (world.size if world.device_type.shared else 1)
    reshard = reshards(spec.reshard_after_forward, numbers * (2 if in_bf16 else 4), memory)
    # Blocks pass on keys and values that are views of larger tensors. No code changes these in place.
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view tensor")
    # The whole model before its blocks, because FSDP2 leaves out parameters that are already sharded.
    fully_shard(model, mesh=mesh, reshard_after_forward=False, ignored_params=multiplied)
    for block in blocks:
        taken: set[nn.Parameter] = {parameter for parameter in block.parameters() if isinstance(parameter, DTensor)}
        fully_shard(block, mesh=mesh, mp_policy=policy, reshard_after_forward=reshard, ignored_params=taken)
    return model


def _multiplied(block: nn.Module) -> list[nn.Parameter]:
    """The matrices of ``block`` that autocast casts to bf16: all except those that modules list as ``wide``."""
    wide = {module.get_parameter(name) for module in block.modules() for name in getattr(module, "wide", ())}
    return [parameter for parameter in parameters_by_kind(block).get("matrices", []) if parameter not in wide]


@contextmanager
def gradient_sync(model: nn.Module, last: bool) -> Iterator[None]:
    """Run one micro-batch inside this context. Ranks exchange gradients only in the ``last`` one of a step."""
    if isinstance(model, DistributedDataParallel) and not last:
        with model.no_sync():
            yield
        return
    if isinstance(model, FSDPModule):
        model.set_requires_gradient_sync(last)
    yield
