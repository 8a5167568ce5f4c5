"""A machine that trains: its memory, its peak speed, and what it can do."""

from dataclasses import dataclass

from llm_core.experiment.devices import DeviceSpec, known_device

Capability = tuple[int, int]

FP8_CAPABILITY: Capability = (8, 9)
"""The CUDA compute capability of the first GPUs that multiply 8-bit floats (Ada, Hopper)."""

BF16_CAPABILITY: Capability = (8, 0)
"""The same for bf16 and FlashAttention (Ampere). Older GPUs emulate bf16 products."""

TRITON_CAPABILITY: Capability = (7, 0)
"""The same for compiled kernels (Volta)."""

RESERVE_SHARE = 0.08
"""The share of memory that plans leave free for the CUDA context, NCCL's buffers and fragmentation."""

GATHERED_SHARE = 0.1
"""The share of a device's memory that gathered parameters may keep."""


@dataclass(frozen=True)
class Hardware:
    """A machine with ``devices`` equal devices of ``memory`` bytes each.

    ``peak_flops``, ``fp32_flops``: the FLOP/s of one device in bf16 and fp32; None when unknown. ``capability``: CUDA's
    compute capability; None for other devices. ``device_type``: see ``llm_core.train.devices``.
    """

    name: str
    devices: int
    memory: int
    peak_flops: float | None
    fp32_flops: float | None = None
    capability: Capability | None = None
    device_type: str = "cuda"

    @property
    def on_cpu(self) -> bool:
        """Whether it trains on its CPU. The ranks then share the machine's memory."""
        return self.device_type == "cpu"

    @property
    def on_cuda(self) -> bool:
        """Whether it trains on CUDA GPUs."""
        return self.device_type == "cuda"

    @property
    def fp8(self) -> bool:
        """Whether it multiplies 8-bit floats."""
        return self.can(FP8_CAPABILITY)

    def can(self, needed: Capability) -> bool:
        """Whether its GPUs have at least this compute capability."""
        return self.capability is not None and self.capability >= needed

    def flops(self, precision: str) -> float | None:
        """The peak FLOP/s of one device in ``precision``. For fp8 it is that of bf16, because MFU counts so."""
        return self.fp32_flops if precision == "fp32" else self.peak_flops

    @property
    def usable_memory(self) -> int:
        """The bytes of one device that plans may use."""
        return int(self.memory * (1 - RESERVE_SHARE))


def planned(device: DeviceSpec, devices: int) -> Hardware:
    """A machine with ``devices`` GPUs of the kind ``device``."""
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
    """The peak FLOP/s in bf16 of the device that CUDA calls ``device``; None when it is not in the table."""
    known = known_device(device)
    return None if known is None else known.tflops_bf16 * 1e12


def reshards(setting: str, gathered_bytes: int, device_memory: int) -> bool:
    """Whether FSDP2 frees the gathered parameters of a block after its forward pass, and gathers them again later.

    ``auto`` does so only when the parameters of all blocks (``gathered_bytes``) would take more than a tenth of the
    device, because small models need not pay for the second gathering.
    """
    return setting == "always" or (setting == "auto" and gathered_bytes > device_memory * GATHERED_SHARE)
