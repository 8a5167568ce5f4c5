"""This machine's CPU."""

import os
import platform
import resource
import sys
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from llm_core.train.device_locks import Device
from llm_core.train.devices.device_type import DeviceType
from llm_core.train.hardware import Hardware
from llm_core.train.host_memory import keeping_memory
from llm_core.train.threads import threads_per_rank

if TYPE_CHECKING:
    import torch

DEVICE = Device("this machine's CPU", "cpu")


class Cpu(DeviceType):
    """The CPU. Its ranks share cores and memory."""

    shared = True
    process_group = "gloo"

    def count(self) -> int:
        """See ``DeviceType``."""
        return 1

    def devices(self) -> list[Device]:
        """See ``DeviceType``."""
        return [DEVICE]

    def machine(self) -> Hardware:
        """See ``DeviceType``."""
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        return Hardware(f"CPU with {os.cpu_count()} cores", 1, memory, peak_flops=None, device_type="cpu")

    def open(self, local_rank: int, ranks: int) -> "torch.device":  # noqa: ARG002 (all ranks share the device)
        """See ``DeviceType``."""
        import torch

        if ranks > 1:
            torch.set_num_threads(threads_per_rank(ranks))
        return torch.device("cpu")

    def name(self, device: "torch.device") -> str:  # noqa: ARG002 (there is one)
        """See ``DeviceType``."""
        return f"CPU ({platform.machine()})"

    def peak_memory(self, device: "torch.device") -> int:  # noqa: ARG002 (there is one)
        """See ``DeviceType``. All memory of the process."""
        # Linux counts into ru_maxrss what the parent process had when it started this one.
        if sys.platform == "linux":
            lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
            peak = next((line.split()[1] for line in lines if line.startswith("VmHWM:")), None)
            if peak is not None:
                return int(peak) * 1024
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit

    def environment(self, devices: Collection[Device]) -> dict[str, str]:  # noqa: ARG002 (there is one)
        """See ``DeviceType``."""
        return keeping_memory()


CPU = Cpu()
