"""The interface of device types."""

from abc import ABC, abstractmethod
from collections.abc import Collection
from typing import TYPE_CHECKING, ClassVar

from llm_core.runtime_only import runtime_only
from llm_core.train.device_locks import Device
from llm_core.train.hardware import Hardware

if TYPE_CHECKING:
    import torch


@runtime_only("where a run trains, which is no part of an identity")
class DeviceType(ABC):
    """A type of device, as torch names it. Importing one does not import torch, because plans ask it too.

    The weights of a run are bit-identical only on devices of one type. So the type is no part of an identity, but the
    results of a run contain the name of its device.
    """

    automatic: ClassVar[bool] = True
    """Whether ``compute.device_type: auto`` may take it."""
    shared: ClassVar[bool] = False
    """Whether all ranks of a machine use one device. Otherwise each rank needs its own."""
    process_group: ClassVar[str | None] = None
    """The backends of ``torch.distributed``. None: a run is one process."""
    has_float64: ClassVar[bool] = True
    skips_in_kernels: ClassVar[bool] = True
    """Whether the kernels of optimisers skip a step whose ``found_inf`` is 1. Otherwise the host decides, and waits for
    the device."""
    compiles: ClassVar[bool] = True
    """Whether ``torch.compile`` has a proven backend."""

    @abstractmethod
    def count(self) -> int:
        """The number of devices that this process may use; 0 when this machine has none."""

    @abstractmethod
    def devices(self) -> list[Device]:
        """These devices, in torch's order."""

    @abstractmethod
    def machine(self) -> Hardware:
        """This machine's devices of this type."""

    @abstractmethod
    def open(self, local_rank: int, ranks: int) -> "torch.device":
        """Prepare this process to train on its device, as one of ``ranks`` of a run; returns the device.

        ``PedigreeError`` when there is no device for this rank.
        """

    @abstractmethod
    def name(self, device: "torch.device") -> str:
        """The name for people."""

    @abstractmethod
    def peak_memory(self, device: "torch.device") -> int:
        """The largest number of bytes that this process has used of the device's memory."""

    def environment(self, devices: Collection[Device]) -> dict[str, str]:  # noqa: ARG002 (for those that need it)
        """Environment variables for a trainer that may use ``devices``."""
        return {}

    def is_out_of_memory(self, error: RuntimeError) -> bool:
        """Whether ``error`` says that the device's memory is full."""
        import torch

        return isinstance(error, torch.OutOfMemoryError)

    def synchronize(self) -> None:  # noqa: B027 (see below)
        """Wait for all work of the device. Called before the host's clock is read for the time of a step. The CPU works
        at once, and CUDA has its own clock (``llm_core.train.metrics_readback``), so both have nothing to do."""

    def after_step(self) -> None:  # noqa: B027 (most types have nothing to do)
        """Called at the end of each step."""
