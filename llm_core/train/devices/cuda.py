"""GPUs of NVIDIA, and those of AMD, which torch also calls ``cuda``."""

import os
import sys
from collections.abc import Collection
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from llm_core.errors import PedigreeError
from llm_core.experiment.devices import known_device
from llm_core.train.device_locks import Device
from llm_core.train.devices.device_type import DeviceType
from llm_core.train.hardware import Hardware

if TYPE_CHECKING:
    import torch


class Cuda(DeviceType):
    """The GPUs that ``CUDA_VISIBLE_DEVICES`` shows, one for each rank."""

    process_group = "cpu:gloo,cuda:nccl"

    def count(self) -> int:
        """See ``DeviceType``. Imports torch, which takes seconds, only where there may be a GPU."""
        if "torch" not in sys.modules and not _may_have_gpus():
            return 0
        import torch

        return torch.cuda.device_count()

    def devices(self) -> list[Device]:
        """See ``DeviceType``."""
        import torch

        count = self.count()
        listed = os.environ.get("CUDA_VISIBLE_DEVICES")
        names = [str(number) for number in range(count)] if listed is None else listed.replace(" ", "").split(",")
        found = []
        for number, name in enumerate(names[:count]):
            # A slice of a GPU has its own name, and may have the identity of the whole GPU.
            key = name if name.startswith("MIG-") else f"GPU-{torch.cuda.get_device_properties(number).uuid}"
            found.append(Device(f"GPU {name}", key, name))
        return found

    def machine(self) -> Hardware:
        """See ``DeviceType``."""
        import torch

        found, count = torch.cuda.get_device_properties(0), self.count()
        known = known_device(found.name, found.total_memory)
        return Hardware(
            f"{count} × {found.name}",
            devices=count,
            memory=found.total_memory,
            peak_flops=None if known is None else known.tflops_bf16 * 1e12,
            fp32_flops=None if known is None or known.tflops_fp32 is None else known.tflops_fp32 * 1e12,
            capability=(found.major, found.minor),
        )

    def open(self, local_rank: int, ranks: int) -> "torch.device":
        """See ``DeviceType``."""
        import torch

        count = self.count()
        if local_rank >= count:
            raise PedigreeError(
                f"rank {local_rank} of {ranks} needs a GPU of its own, and this machine has {count}: start {count} "
                "ranks or fewer"
            )
        device = torch.device("cuda", local_rank)
        torch.cuda.set_device(device)
        return device

    def name(self, device: "torch.device") -> str:
        """See ``DeviceType``."""
        import torch

        return torch.cuda.get_device_name(device)

    def peak_memory(self, device: "torch.device") -> int:
        """See ``DeviceType``."""
        import torch

        return torch.cuda.max_memory_allocated(device)

    def environment(self, devices: Collection[Device]) -> dict[str, str]:
        """See ``DeviceType``."""
        return {"CUDA_VISIBLE_DEVICES": ",".join(device.visible for device in devices if device.visible is not None)}


CUDA = Cuda()


def _may_have_gpus() -> bool:
    """False when torch surely finds no GPU: it was built for CPUs, or no driver is loaded."""
    try:
        built_for_cpus = version("torch").endswith("+cpu")
    except PackageNotFoundError:
        return False
    return not built_for_cpus and any(Path(f"/dev/{name}").exists() for name in ("nvidiactl", "kfd", "dxg"))
