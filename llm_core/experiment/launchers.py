"""The interface of launchers: where a training run happens, and how its processes are started and watched."""

from abc import abstractmethod
from typing import Any, ClassVar

from llm_core.experiment.component import Component
from llm_core.experiment.devices import DeviceSpec
from llm_core.runtime_only import runtime_only


@runtime_only("compute is no part of an identity")
class LauncherSpec(Component):
    """Where a run trains. A kind defines ``launch``. It does not change results and is not part of any identity."""

    here: ClassVar[bool] = True
    """Whether the run trains on the machine that starts it. Then that machine's devices are checked, otherwise those of
    ``machine``. Both machines must see the work folder."""

    def machine(self) -> tuple[DeviceSpec, int] | None:
        """(device, count) for which a run is planned; None: the devices of the planning machine."""
        return None

    def check(self, compute: Any, gpus: int) -> None:
        """Raise ``PedigreeError``, before any work, when a run with this ``ComputeSpec`` can't be started from a
        machine with ``gpus`` GPUs."""

    @abstractmethod
    def launch(self, spec: Any, ranks: int, runtime: Any) -> None:
        """Train a ``TrainerSpec`` on ``ranks`` ranks. Returns when ``spec.work`` contains the finished run.

        Live metrics, log and progress go to ``runtime``, a ``Runtime``. First ends all processes of an earlier attempt.
        Raises ``PedigreeError`` when the training fails, makes no progress (``runtime.compute.watchdog_seconds``) or is
        stopped, after ending all of its processes.
        """
