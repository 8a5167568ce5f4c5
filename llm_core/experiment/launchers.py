"""What launchers are asked for: where a training run happens, and how its processes are started and watched there."""

from abc import abstractmethod
from typing import Any, ClassVar

from llm_core.experiment.component import Component
from llm_core.experiment.devices import DeviceSpec


class LauncherSpec(Component):
    """Where a run trains. A kind has ``launch``. It changes no result, and is no part of any identity."""

    here: ClassVar[bool] = True
    """Whether the run trains on the machine that starts it, whose devices are examined then; otherwise those of
    ``machine`` are. The work folder is one that both see."""

    def machine(self) -> tuple[DeviceSpec, int] | None:
        """The devices that a run is planned for, and how many; None for those of the machine that plans."""
        return None

    def check(self, compute: Any, gpus: int) -> None:
        """``PedigreeError`` where a run with this ``ComputeSpec`` can't be started from a machine with so many
        ``gpus``, before any work."""

    @abstractmethod
    def launch(self, spec: Any, ranks: int, runtime: Any) -> None:
        """Train a ``TrainerSpec`` on so many ranks; come back when ``spec.work`` holds the finished run.

        Live figures, log and progress go to ``runtime``, a ``Runtime``. Raises ``PedigreeError`` when the training
        fails, stops making progress (``runtime.compute.watchdog_seconds``) or is stopped; nothing that trains is left
        behind then. What is left of an earlier attempt is ended first.
        """
