"""The arguments of a build function: input artifacts, folders, and a run-time environment that changes no result."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llm_core.errors import PedigreeError
from llm_core.experiment.runtime import ComputeSpec, TrackingSpec
from llm_core.graph.code_claim import CodeClaim
from llm_core.graph.part import InputFile, PartTask
from llm_core.graph.part_build import PartBuild
from llm_core.graph.workers import build_parts
from llm_core.runtime_only import runtime_only
from llm_core.store.manifest import Artifact, GateRecord
from llm_core.store.parts import Part, PartStore


@runtime_only("tells nobody")
def _ignore(*_: Any, **__: Any) -> None:
    pass


@runtime_only("asks nobody")
def _never(_: str) -> bool:
    return False


def _no_code(_: PartTask) -> CodeClaim:
    return CodeClaim()


@runtime_only("where a stage runs, and who watches")
@dataclass(frozen=True)
class Runtime:
    """Where and how a stage runs, and who watches it. Nothing here may change a result.

    ``progress(done, total, unit)``: progress of long work. ``status(what)``: the current activity while nothing can be
    counted ("compiling kernels"); the same text may repeat. ``observe(metrics)``: live metrics of a training run,
    including ``step``. ``log(line)``: a line for people. ``environment``: more variables for launched processes.
    ``trainer_module``: the module for ``python -m`` or ``torchrun -m``; it must call ``llm_core.train.main.main``.
    ``agree(question)``: whether the user agrees, for example to a cost above ``compute.ask_above``.
    """

    compute: ComputeSpec = field(default_factory=ComputeSpec)
    tracking: TrackingSpec = field(default_factory=TrackingSpec)
    progress: Callable[[float, float, str], None] = _ignore
    status: Callable[[str], None] = _ignore
    observe: Callable[[Mapping[str, float]], None] = _ignore
    log: Callable[[str], None] = _ignore
    environment: Mapping[str, str] = field(default_factory=dict)
    trainer_module: str = "llm_core.train"
    agree: Callable[[str], bool] = _never


@dataclass(frozen=True)
class Job:
    """One execution of a stage.

    ``work`` survives a killed attempt and is private to the identity. ``out`` (inside it) becomes the artifact, and is
    empty at the start. ``parts``: the folder of the part store; by default one inside ``work``. ``claim``: the code
    that builds the stage, for its other processes. ``part_claim``: the code that builds a part. ``part_counts``: the
    numbers of parts ``found`` and ``made``; each part counts once (``own_parts`` contains the parts requested so far).
    ``damaged_files``: role → path → problem, for damaged volatile files of an input. ``gates``: with which it was
    launched.
    """

    stage: str
    identity: str
    inputs: Mapping[str, Artifact]
    work: Path
    out: Path
    runtime: Runtime = field(default_factory=Runtime)
    parts: Path | None = None
    claim: CodeClaim = field(default_factory=CodeClaim)
    part_claim: Callable[[PartTask], CodeClaim] = _no_code
    part_counts: Counter[str] = field(default_factory=Counter)
    own_parts: set[Path] = field(default_factory=set)
    damaged_files: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    gates: Sequence[GateRecord] = ()

    def path(self, role: str, *parts: str) -> Path:
        """A file or folder of the input with this ``role``. Raises ``PedigreeError`` when it is damaged.

        Without ``parts``, the folder of the input. All its files are valid except those in ``damaged_files``.
        """
        wanted = "/".join(parts)
        for path, problem in self.damaged_files.get(role, {}).items():
            if wanted and (path == wanted or path.startswith(f"{wanted}/")):
                made = self.inputs[role].manifest.stage
                raise PedigreeError(
                    f"{self.stage} needs {wanted} of its input {made}: {problem}. `pedigree run --force {made}` makes "
                    "it again"
                )
        return self.inputs[role].path.joinpath(*parts)

    def files(self) -> dict[str, list[InputFile]]:
        """Role → all files of that input, sorted by name."""
        return {role: artifact_files(artifact) for role, artifact in self.inputs.items()}

    def map(self, tasks: Sequence[PartTask], link: bool = True) -> list[Part]:
        """The part of every task, in order. Finds existing parts, and builds the others with several workers.

        With ``link``, links the files of all parts into ``out``, under the same relative paths. Raises the errors of
        the tasks' functions. The next attempt finds the parts that are finished by then.
        """
        names = [task.name for task in tasks]
        if len(set(names)) != len(names):
            raise ValueError(f"two parts share a name: {next(name for name in names if names.count(name) > 1)}")
        root = self.parts or self.work / "parts"
        PartStore(root).clear()
        pending = []
        parts: dict[str, Part] = {}
        for task in tasks:
            claim = self.part_claim(task)
            build = PartBuild(task, task.key(claim.digest), claim, root)
            found = build.find()
            if found is None:
                pending.append(build)
            else:
                parts[task.name] = found
        known = {part.folder for part in parts.values()} - self.own_parts
        self.part_counts.update(found=len(known), made=len(pending))
        if pending:
            self.runtime.log(f"{self.stage}: {len(parts)} of {len(tasks)} parts are there, {len(pending)} to be made")
            for part in build_parts(pending, self.runtime.compute, self.runtime.status):
                parts[part.name] = part
                self.runtime.progress(len(parts), len(tasks), "parts")
        self.own_parts.update(part.folder for part in parts.values())
        if link:
            for task in tasks:
                parts[task.name].link(self.out)
        return [parts[name] for name in names]


def artifact_files(artifact: Artifact) -> list[InputFile]:
    """The files of an artifact with the digests in its manifest, sorted by name."""
    records = sorted(artifact.manifest.files, key=lambda record: record.path)
    return [InputFile(record.path, artifact.path / record.path, record.xxh3) for record in records]
