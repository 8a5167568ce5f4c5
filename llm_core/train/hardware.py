"""What machines can do: memory, and peak speed in bf16."""

import os
from dataclasses import dataclass

PEAK_BF16_FLOPS = {
    "H200 NVL": 835e12,
    "H200": 989e12,
    "H100 PCIe": 756e12,
    "H100 NVL": 835e12,
    "H100": 989e12,
    "A100": 312e12,
    "L40S": 362e12,
    "A10G": 70e12,
    "RTX 4090": 165e12,
}
"""Dense bf16 FLOP/s with fp32 accumulation by the maker's data sheets (half of what they give with sparsity), by a part
of the name that CUDA gives the device. The first match counts: slower kinds stand before the plain name (SXM)."""

FP8_CAPABILITY = (8, 9)
"""CUDA compute capability from which on there are products of 8-bit floats: Ada, Hopper and newer."""

RESERVE_SHARE = 0.08
"""Memory left alone: CUDA context, NCCL's buffers, the allocator's fragments."""

GATHERED_SHARE = 0.1
"""What parameters that stay gathered may take of a device's memory."""


@dataclass(frozen=True)
class Hardware:
    """A machine: ``devices`` equal ones with ``memory`` bytes each, and their peak FLOP/s where it is known.

    ``fp8``: whether they multiply 8-bit floats.
    """

    name: str
    devices: int
    memory: int
    peak_flops: float | None
    fp8: bool = False

    @property
    def on_cpu(self) -> bool:
        """Whether it has no other devices; its ranks then share the machine's memory."""
        return self.name.startswith("CPU")

    @property
    def usable_memory(self) -> int:
        """Bytes of a device that a run may plan with."""
        return int(self.memory * (1 - RESERVE_SHARE))


H100X8 = Hardware("8 × H100 SXM 80 GB", devices=8, memory=80_000_000_000, peak_flops=PEAK_BF16_FLOPS["H100"], fp8=True)


def peak_flops(device: str) -> float | None:
    """Peak of the device that CUDA calls ``device``; None for one that isn't in the table."""
    return next((peak for part, peak in PEAK_BF16_FLOPS.items() if part in device), None)


def hardware_of(target: str) -> Hardware:
    """The machine behind ``compute.target``; ``local`` looks at this one: its GPUs, or its CPU."""
    if target == "h100x8":
        return H100X8
    import torch

    devices = torch.cuda.device_count()
    if not devices:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        return Hardware(f"CPU with {os.cpu_count()} cores", devices=1, memory=memory, peak_flops=None)
    found = torch.cuda.get_device_properties(0)
    peak = peak_flops(found.name)
    fp8 = (found.major, found.minor) >= FP8_CAPABILITY
    return Hardware(f"{devices} × {found.name}", devices=devices, memory=found.total_memory, peak_flops=peak, fp8=fp8)


def reshards(setting: str, gathered_bytes: int, device_memory: int) -> bool:
    """Whether FSDP2 gives a block's gathered parameters back after its forward pass, and gathers them again later.

    ``auto`` does so only where all of them (``gathered_bytes``) would take more than a tenth of the device: small
    models need not pay for the second gathering.
    """
    return setting == "always" or (setting == "auto" and gathered_bytes > device_memory * GATHERED_SHARE)
