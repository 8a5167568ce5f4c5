"""GPUs by name: memory, speed and capability."""

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from llm_core.experiment.base import Spec

Positive = Annotated[float, Field(gt=0)]


class DeviceSpec(Spec):
    """One type of GPU, from its data sheet."""

    name: Annotated[str, Field(min_length=1)]
    """CUDA's name of the device, or a part of it. A run looks for it on the machine where it starts."""
    memory_gb: Positive
    """10⁹ bytes. CUDA reports a little more for most devices."""
    tflops_bf16: Positive
    """Dense bf16 matrix products with fp32 accumulation: half of the data sheets' numbers with sparsity."""
    tflops_fp32: Positive | None = None
    """fp32 matrix products without TF32."""
    compute_capability: Annotated[float, Field(ge=1)] = 8.0
    """CUDA's compute capability. The default is Ampere, which has bf16 and no fp8."""


DEVICES = {
    device.name: device
    for device in (
        DeviceSpec(name=name, memory_gb=memory, tflops_bf16=bf16, tflops_fp32=fp32, compute_capability=capability)
        for name, memory, bf16, fp32, capability in (
            ("A10G", 24, 70, 31.5, 8.6),
            ("A100 40GB", 40, 312, 19.5, 8.0),
            ("A100 80GB", 80, 312, 19.5, 8.0),
            ("L40S", 48, 362, 91.6, 8.9),
            ("RTX 4090", 24, 165, 82.6, 8.9),
            ("RTX 5090", 32, 209.5, 104.8, 12.0),
            # An eighth of the fp4 rate in its data sheet. Unlike GeForce cards, it does not halve the rate for fp32
            # accumulation.
            ("RTX PRO 4500", 32, 219.7, 54.9, 12.0),
            ("H100", 80, 989, 67, 9.0),
            ("H100 NVL", 94, 835, 60, 9.0),
            ("H100 PCIe", 80, 756, 51, 9.0),
            ("H200", 141, 989, 67, 9.0),
            ("H200 NVL", 141, 835, 60, 9.0),
            ("B200", 180, 2250, 75, 10.0),
        )
    )
}
"""Name → device. H100, H200 and B200 are the SXM versions."""

_CUT_DOWN = re.compile(r"\b(Laptop|Max-Q|MIG)\b|\b(RTX 4090|RTX 5090) D\b")
"""Marks in the names of slower versions of a device."""


def device_named(name: str) -> DeviceSpec:
    """The device of the table, ignoring case, spaces and dashes. Raises ``ValueError`` with the known names."""
    found = [device for known, device in DEVICES.items() if _plain(known) == _plain(name)]
    if not found:
        raise ValueError(
            f"there is no device {name!r} in the table: {', '.join(sorted(DEVICES))}; describe any other as "
            "{name: …, memory_gb: …, tflops_bf16: …}"
        )
    return found[0]


def known_device(cuda_name: str, memory: int | None = None) -> DeviceSpec | None:
    """The device of the table for ``cuda_name``. If several fit, the one nearest to ``memory`` bytes."""
    if _CUT_DOWN.search(cuda_name):
        return None
    sizes = {device: device.name.removesuffix(f" {device.memory_gb:.0f}GB") for device in DEVICES.values()}
    found = [device for device, part in sizes.items() if re.search(rf"\b{part}\b", cuda_name)]
    longest = max((len(sizes[device]) for device in found), default=0)
    fitting = [device for device in found if len(sizes[device]) == longest]
    return min(fitting, key=lambda device: abs(device.memory_gb * 1e9 - (memory or 0)), default=None)


def is_device(wanted: DeviceSpec, cuda_name: str, memory: int) -> bool:
    """Whether this machine's device with this ``cuda_name`` and ``memory`` (bytes) is a ``wanted`` one."""
    known = known_device(cuda_name, memory)
    if known is not None and known.name == wanted.name:
        return True
    return wanted.name not in DEVICES and _plain(wanted.name) in _plain(cuda_name)


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", "", name).casefold()


def _from_table(value: Any) -> Any:
    return device_named(value) if isinstance(value, str) else value


Device = Annotated[DeviceSpec, BeforeValidator(_from_table, json_schema_input_type=str | DeviceSpec)]
"""A device, given by name or as a description."""
