"""Launches on this machine."""

from typing import Any, Literal

from llm_core.experiment.launchers import LauncherSpec
from llm_core.registry import load_object
from llm_core.runtime_only import runtime_only


class Local(LauncherSpec):
    """This machine's GPUs or CPU; several ranks run under torchrun."""

    kind: Literal["local"] = "local"

    @runtime_only("starts and watches the trainer, which checks its own code")
    def launch(self, spec: Any, ranks: int, runtime: Any) -> None:
        """See ``LauncherSpec``."""
        load_object("llm_core.train.launching:launch")(spec, ranks, runtime)
