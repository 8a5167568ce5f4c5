"""The machine that a run is planned for, or that is here: memory, peak speed, and what it can do."""

import os
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from llm_core.errors import PedigreeError
from llm_core.experiment.devices import DeviceSpec, is_device, known_device
from llm_core.experiment.runtime import ComputeSpec

Capability = tuple[int, int]

FP8_CAPABILITY: Capability = (8, 9)
"""CUDA compute capability from which on there are products of 8-bit floats: Ada, Hopper and newer."""

BF16_CAPABILITY: Capability = (8, 0)
"""The same for bf16, and for FlashAttention: Ampere. Older GPUs make bf16 products out of others."""

TRITON_CAPABILITY: Capability = (7, 0)
"""The same for compiled kernels: Volta."""

RESERVE_SHARE = 0.08
"""Memory left alone: CUDA context, NCCL's buffers, the allocator's fragments."""

GATHERED_SHARE = 0.1
"""What parameters that stay gathered may take of a device's memory."""


@dataclass(frozen=True)
class Hardware:
    """A machine: ``devices`` equal ones with ``memory`` bytes each.

    ``peak_flops`` and ``fp32_flops``: of one device, in bf16 and fp32, where they are known. ``capability``: CUDA's,
    None for a CPU.
    """

    name: str
    devices: int
    memory: int
    peak_flops: float | None
    fp32_flops: float | None = None
    capability: Capability | None = None

    @property
    def on_cpu(self) -> bool:
        """Whether it has no other devices; its ranks then share the machine's memory."""
        return self.name.startswith("CPU")

    @property
    def fp8(self) -> bool:
        """Whether it multiplies 8-bit floats."""
        return self.can(FP8_CAPABILITY)

    def can(self, needed: Capability) -> bool:
        """Whether it has GPUs of this compute capability or a higher one."""
        return self.capability is not None and self.capability >= needed

    def flops(self, precision: str) -> float | None:
        """Peak FLOP/s of a device that bounds a run in ``precision``; of fp8 that of bf16, as MFU counts it."""
        return self.fp32_flops if precision == "fp32" else self.peak_flops

    @property
    def usable_memory(self) -> int:
        """Bytes of a device that a run may plan with."""
        return int(self.memory * (1 - RESERVE_SHARE))


def planned(device: DeviceSpec, devices: int) -> Hardware:
    """A machine with so many of ``device``."""
    whole, tenths = divmod(round(device.compute_capability * 10), 10)
    return Hardware(
        f"{devices} × {device.name} ({device.memory_gb:g} GB)",
        devices=devices,
        memory=round(device.memory_gb * 1e9),
        peak_flops=device.tflops_bf16 * 1e12,
        fp32_flops=None if device.tflops_fp32 is None else device.tflops_fp32 * 1e12,
        capability=(whole, tenths),
    )


def peak_flops(device: str) -> float | None:
    """Peak in bf16 of the device that CUDA calls ``device``; None for one that isn't in the table."""
    known = known_device(device)
    return None if known is None else known.tflops_bf16 * 1e12


def hardware_of(compute: ComputeSpec) -> Hardware:
    """The machine that ``compute`` plans for: the one it names, or this one."""
    if compute.device is not None:
        return planned(compute.device, compute.devices or 1)
    machine = compute.target.machine()
    return this_machine() if machine is None else planned(*machine)


def this_machine() -> Hardware:
    """This machine's GPUs, or its CPU."""
    devices = gpu_count()
    if not devices:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        return Hardware(f"CPU with {os.cpu_count()} cores", devices=1, memory=memory, peak_flops=None)
    import torch

    found = torch.cuda.get_device_properties(0)
    known = known_device(found.name, found.total_memory)
    return Hardware(
        f"{devices} × {found.name}",
        devices=devices,
        memory=found.total_memory,
        peak_flops=None if known is None else known.tflops_bf16 * 1e12,
        fp32_flops=None if known is None or known.tflops_fp32 is None else known.tflops_fp32 * 1e12,
        capability=(found.major, found.minor),
    )


def gpu_count() -> int:
    """This machine's GPUs. torch, which takes seconds to import, is asked only where there may be one."""
    if "torch" not in sys.modules and not _may_have_gpus():
        return 0
    import torch

    return torch.cuda.device_count()


def _may_have_gpus() -> bool:
    """False where torch surely finds no GPU: it was built for CPUs, or no driver is loaded."""
    try:
        built_for_cpus = version("torch").endswith("+cpu")
    except PackageNotFoundError:
        return False
    return not built_for_cpus and any(Path(f"/dev/{name}").exists() for name in ("nvidiactl", "kfd", "dxg"))


def require_devices(compute: ComputeSpec) -> None:
    """``PedigreeError`` where a run can't be started from here: this machine is not the one that ``compute`` names, or
    has too few GPUs."""
    gpus = gpu_count()
    compute.target.check(compute, gpus)
    if not compute.target.here:
        return
    if compute.device is not None:
        wanted, here = compute.ranks or compute.devices or 1, this_machine()
        name = here.name.partition(" × ")[2]
        if gpus < wanted or not is_device(compute.device, name, here.memory):
            raise PedigreeError(
                f"compute.device: the run is planned for {wanted} × {compute.device.name}, and this machine is "
                f"{here.name}; run it there, or leave compute.device out to train on what is here"
            )
    if gpus and compute.ranks is not None and compute.ranks > gpus:
        raise PedigreeError(f"compute.ranks is {compute.ranks}, but this machine has {gpus} GPUs")


def reshards(setting: str, gathered_bytes: int, device_memory: int) -> bool:
    """Whether FSDP2 gives a block's gathered parameters back after its forward pass, and gathers them again later.

    ``auto`` does so only where all of them (``gathered_bytes``) would take more than a tenth of the device: small
    models need not pay for the second gathering.
    """
    return setting == "always" or (setting == "auto" and gathered_bytes > device_memory * GATHERED_SHARE)
