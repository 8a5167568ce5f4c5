"""One node with eight H100 GPUs."""

from typing import Any, Literal

from llm_core.errors import PedigreeError
from llm_core.experiment.devices import DEVICES, DeviceSpec
from llm_core.experiment.launchers import LauncherSpec
from llm_core.registry import load_object
from llm_core.runtime_only import runtime_only


class H100Node(LauncherSpec):
    """One node with eight H100 GPUs. Plans can be made anywhere; runs start on the node itself."""

    kind: Literal["h100x8"] = "h100x8"

    def machine(self) -> tuple[DeviceSpec, int]:
        """See ``LauncherSpec``."""
        return DEVICES["H100"], 8

    def check(self, compute: Any, gpus: int) -> None:
        """See ``LauncherSpec``. With ``compute.ranks``, fewer GPUs suffice."""
        if compute.ranks is None and gpus < self.machine()[1]:
            raise PedigreeError(
                f"compute.target h100x8 needs 8 GPUs, but this machine has {gpus}; run on such a node, or set "
                "compute.target to local"
            )

    @runtime_only("starts and watches the trainer, which checks its own code")
    def launch(self, spec: Any, ranks: int, runtime: Any) -> None:
        """See ``LauncherSpec``."""
        load_object("llm_core.train.launching:launch")(spec, ranks, runtime)
