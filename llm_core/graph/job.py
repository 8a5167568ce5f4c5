"""What a build function gets: input artifacts, folders, and the run-time world that changes no result."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llm_core.experiment.runtime import ComputeSpec, TrackingSpec
from llm_core.store.manifest import Artifact

RUNTIME_ONLY = True


def _ignore(*_: Any, **__: Any) -> None:
    pass


@dataclass(frozen=True)
class Runtime:
    """Where and how a stage runs, and who watches. Nothing here may change a result.

    ``progress(done, total, unit)``: a step of long work. ``observe(figures)``: live figures of a training run (a
    ``step`` among them). ``log(line)``: a line for people. ``environment``: more variables for launched processes.
    ``trainer_module``: what ``torchrun -m`` starts; anything that ends in ``llm_core.train.main.main``.
    """

    compute: ComputeSpec = field(default_factory=ComputeSpec)
    tracking: TrackingSpec = field(default_factory=TrackingSpec)
    progress: Callable[[float, float, str], None] = _ignore
    observe: Callable[[Mapping[str, float]], None] = _ignore
    log: Callable[[str], None] = _ignore
    environment: Mapping[str, str] = field(default_factory=dict)
    trainer_module: str = "llm_core.train"


@dataclass(frozen=True)
class Job:
    """One execution of a stage.

    ``work`` survives a killed attempt and is private to the identity; ``out`` (inside it) becomes the artifact, and is
    empty at the start unless the stage is resumable.
    """

    stage: str
    identity: str
    inputs: Mapping[str, Artifact]
    work: Path
    out: Path
    runtime: Runtime = field(default_factory=Runtime)

    def path(self, role: str, *parts: str) -> Path:
        """A file or folder of the input that fills ``role``."""
        return self.inputs[role].path.joinpath(*parts)
