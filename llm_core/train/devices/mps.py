"""The GPU of Apple silicon, by torch's backend MPS (Metal Performance Shaders).

Written from torch's sources and issues, and tested with a stand-in: it has never run on Apple hardware.
"""

import platform
import sys
from collections.abc import Collection
from typing import TYPE_CHECKING

from llm_core.errors import PedigreeError
from llm_core.train.device_locks import Device
from llm_core.train.devices.device_type import DeviceType
from llm_core.train.hardware import Hardware

if TYPE_CHECKING:
    import torch

DEVICE = Device("this machine's Apple GPU", "mps")

MACOS = (14, 0)
"""The oldest macOS with bf16 on the GPU."""


class Mps(DeviceType):
    """The GPU of a Mac, for one process. It shares the machine's memory. It has fp32 and bf16, but no fp64 and no fp8.

    Attention is ``eager`` there (``llm_core.model.backends``). Operators without a Metal kernel run on the CPU; torch
    warns about each one.
    """

    automatic = False  # until it has run on hardware
    has_float64 = False
    skips_in_kernels = False  # torch ignored found_inf in its Metal kernels (pytorch #186360)
    compiles = False  # torch.compile for Metal is a prototype

    def __init__(self) -> None:
        self._peak = 0

    def count(self) -> int:
        """See ``DeviceType``. Imports torch only on Apple silicon."""
        if sys.platform != "darwin" or platform.machine() != "arm64":
            return 0
        import torch

        return int(torch.backends.mps.is_available() and torch.backends.mps.is_macos_or_newer(*MACOS))

    def devices(self) -> list[Device]:
        """See ``DeviceType``."""
        return [DEVICE]

    def machine(self) -> Hardware:
        """See ``DeviceType``. Its memory is what Metal recommends as a limit."""
        import torch

        return Hardware(
            f"1 × {torch.backends.mps.get_name()}",
            devices=1,
            memory=torch.mps.recommended_max_memory(),
            peak_flops=None,
            device_type="mps",
        )

    def open(self, local_rank: int, ranks: int) -> "torch.device":
        """See ``DeviceType``."""
        import torch

        if ranks > 1:
            raise PedigreeError(
                f"rank {local_rank} of {ranks}: an Apple GPU trains in one process: start it without torchrun, or set "
                "compute.device_type to cpu"
            )
        return torch.device("mps")

    def name(self, device: "torch.device") -> str:  # noqa: ARG002 (there is one)
        """See ``DeviceType``."""
        import torch

        return torch.backends.mps.get_name()

    def peak_memory(self, device: "torch.device") -> int:  # noqa: ARG002 (there is one)
        """See ``DeviceType``. Metal counts no peak, so this is the largest number seen at the end of a step."""
        import torch

        self._peak = max(self._peak, torch.mps.driver_allocated_memory())
        return self._peak

    def environment(self, devices: Collection[Device]) -> dict[str, str]:  # noqa: ARG002 (there is one)
        """See ``DeviceType``. torch reads the variable when it is imported."""
        return {"PYTORCH_ENABLE_MPS_FALLBACK": "1"}

    def is_out_of_memory(self, error: RuntimeError) -> bool:
        """See ``DeviceType``. torch has no type for this error."""
        return str(error).startswith("MPS backend out of memory")

    def synchronize(self) -> None:
        """See ``DeviceType``."""
        import torch

        torch.mps.synchronize()

    def after_step(self) -> None:
        """Give the cache of the allocator back to the machine, whose memory it is: the largest tensors of a step are
        free now."""
        import torch

        self.peak_memory(torch.device("mps"))  # before it falls
        torch.mps.empty_cache()


MPS = Mps()
