"""Checkpoints: sharded, asynchronous, whole or not there, for any number of ranks, and only for the run they are of.

``checkpoints/step_00000100/`` holds one part for each rank (``llm_core.train.rank_files``) and ``checkpoint.json``: the
run that it belongs to, its step, and the digests of the parts. Parts are written and synced in another folder; the
main rank adds ``checkpoint.json`` when all are there, and one rename puts the folder in place. Which folders are
the run's own: ``llm_core.train.checkpoint_folder``.

Why not ``torch.distributed.checkpoint``: it holds training up longer, has no digests, and reads its ``.metadata`` with
``pickle.load`` (``docs/results/checkpoint_writer.md``).

There is no state of random generators: what is drawn in a step follows from seed, step and rank
(``llm_core.train.seeding``).
"""

import json
import math
import os
import tempfile
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from llm_core.errors import PedigreeError
from llm_core.experiment.runtime import KeepSpec
from llm_core.reasons import explained
from llm_core.store.files import sync_folder
from llm_core.train.async_save import AsyncSave, MissingPartError, give_up_part, wait_for_part
from llm_core.train.checkpoint_folder import CheckpointFolder, random_part
from llm_core.train.checkpoint_manifest import read_manifest, write_manifest, write_marker
from llm_core.train.checksummed_json import DamagedFileError
from llm_core.train.distribution import World
from llm_core.train.rank_files import StoredParts, damage, index_name, write_part
from llm_core.train.snapshot import Snapshot
from llm_core.train.state import load_optimizer, load_weights, not_finite, pieces

Result = TypeVar("Result")


@dataclass
class Progress:
    """How far a run is: steps done, how many of them were skipped, and how many bad ones just now came in a row.

    ``data``: the state of the loader (``Loader.state``) as it goes on from here. ``callbacks``: what the callbacks
    keep. All of it is plain JSON data: numbers on a device are read before.
    """

    step: int = 0
    skipped: int = 0
    bad_in_a_row: int = 0
    data: dict[str, Any] = field(default_factory=dict)
    callbacks: dict[str, Any] = field(default_factory=dict)


class Checkpoints:
    """The checkpoints of one run in ``folder``.

    ``owner`` is what decides the weights of the run (``spec.result_fields``). ``keep`` says which checkpoints stay;
    those of the steps in ``pinned`` always do, as do those that it takes to go ``behind`` steps back. Methods are
    collective but for ``check``: all ranks call them at the same point, and all raise when one can't go on.
    """

    def __init__(
        self,
        folder: Path,
        keep: KeepSpec,
        owner: dict[str, Any],
        world: World,
        log: Callable[[str], None] = print,
        pinned: Collection[int] = (),
        behind: int = 0,
    ) -> None:
        self._owner = json.loads(json.dumps(owner))  # as it will be read: tuples are lists there
        self._folder = CheckpointFolder(folder, self._owner, log)
        self._keep, self._world, self._log = keep, world, log
        self._told: set[str] = set()
        self._random_part: str | None = None
        self._pinned, self._behind = frozenset(pinned), behind
        self._snapshot = Snapshot(world.device)
        self._saving: AsyncSave | None = None

    def save(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        progress: Progress,
        validation_loss: float | None = None,
    ) -> None:
        """Begin a checkpoint of what is now, and come back while it is being written. Collective.

        ``validation_loss`` of these very weights, where it is known: the best are kept by it. A checkpoint that is
        still being written is waited for. What goes wrong later is raised by ``check``, the next ``save`` or ``wait``.
        """
        self.wait()
        if self._random_part is None:
            self._random_part = self._world.from_main(random_part())
        rank, step = self._world.rank, progress.step
        unfinished = self._folder.passing(step, self._random_part)
        copies = self._snapshot.take(pieces(model, optimizer, rank, self._world.size))
        content = json.dumps({"owner": self._owner, "progress": asdict(progress), "validation_loss": validation_loss})

        def write() -> None:
            self._snapshot.ready()
            try:
                unfinished.mkdir(parents=True, exist_ok=True)
                write_marker(unfinished, rank, step)
                write_part(unfinished, rank, copies)
            except Exception as error:
                give_up_part(unfinished, rank, explained(error))
                raise

        def seal() -> None:
            self._seal(unfinished, step, json.loads(content))

        self._saving = AsyncSave(step, write, seal if self._world.is_main else None)

    def check(self) -> None:
        """Raise ``PedigreeError`` when this rank's part can't be written (a full disk). Costs nothing; not collective.

        The checkpoints before it are as they were.
        """
        if self._saving and self._saving.error:
            raise self._failed(self._saving.step, self._saving.error)

    def wait(self) -> None:
        """Come back when the newest checkpoint is whole and in place: at the end of a run, and before it stops."""
        saving, self._saving = self._saving, None
        if saving is None:
            return
        # First whether all parts are there: the main rank would wait forever for one that never comes.
        for finished in (saving.written, saving.sealed):
            finished.wait()
            self._agree(None if saving.error is None else self._failed(saving.step, saving.error))

    def resume(self, model: nn.Module, optimizer: torch.optim.Optimizer, at_most: int | None = None) -> Progress:
        """Load the newest whole checkpoint, and return its progress; without one, return that of a start. Collective.

        ``at_most``: of this step or before; newer ones are removed (a run that is rolled back does not want them).
        Where there is no checkpoint to go back to, weights and optimiser are left as they are. A damaged checkpoint is
        removed with a line in the log, so that the one before it is used; what is not of this run is left alone, and
        named in the log once. Raises ``PedigreeError`` where all checkpoints are of another run, for one of another
        version, for one with numbers that are not finite, and for a folder that can't be written to or read.
        """
        self.wait()
        self._agree(self._unwritable())
        self._on_main(lambda: self._tidy(at_most))
        while (newest := self._on_main(self._newest)) is not None:
            content, reason = _examined(newest, self._world)
            if reason is None:
                return self._load(newest, content, model, optimizer)
            self._log(f"{newest}: the checkpoint is damaged ({reason}); it is removed, and the one before it used")
            self._on_main(lambda damaged=newest: self._folder.remove(damaged))  # type: ignore[misc]
        return Progress()

    def _load(
        self, checkpoint: Path, content: dict[str, Any], model: nn.Module, optimizer: torch.optim.Optimizer
    ) -> Progress:
        broken = _load_state(checkpoint, content, self._world, model, optimizer)
        if broken is not None:
            raise PedigreeError(
                f"{checkpoint}: {broken} holds numbers that are not finite: remove that folder, and run again: "
                "training goes on from the checkpoint before it"
            )
        progress = Progress(**content["progress"])
        self._log(f"resuming after step {progress.step} from {checkpoint}")
        return progress

    def _seal(self, unfinished: Path, step: int, content: dict[str, Any]) -> None:
        """Wait for the parts of all ranks, put the checkpoint in place, and remove those that need not stay."""
        parts = []
        for rank in range(self._world.size):
            index = unfinished / index_name(rank)
            wait_for_part(unfinished, rank)
            parts.append({"index": index.name, "sha256": sha256(index.read_bytes()).hexdigest()})
        write_manifest(unfinished, {**content, "parts": parts})
        sync_folder(unfinished)
        self._folder.put(unfinished, step)
        sync_folder(self._folder.path)
        own = self._folder.entries().own
        losses = {known: _validation_loss(path) for known, path in own.items()}
        for known in own.keys() - steps_to_keep(losses, self._keep, self._pinned, self._behind):
            self._folder.remove(own[known])

    def _newest(self) -> Path | None:
        own = self._folder.entries().own
        return own[max(own)] if own else None

    def _tidy(self, at_most: int | None) -> None:
        """Remove what killed writers left, and what comes after the step ``at_most``; say what is left alone."""
        found = self._folder.entries()
        for leftover in found.leftovers:
            self._folder.clear(leftover)
        if found.others and not found.own:
            path, difference = next(iter(found.others.items()))
            raise PedigreeError(
                f"{path}: the checkpoint is of another run: {difference}; train in another folder, or move what is in "
                f"{self._folder.path} away"
            )
        for step, path in found.own.items():
            if at_most is not None and step > at_most:
                self._folder.remove(path)
        new = [f"{name} ({reason})" for name, reason in found.foreign.items() if name not in self._told]
        self._told.update(found.foreign)
        if new:
            self._log(f"{self._folder.path}: left alone, since not of this run: {', '.join(new)}")

    def _unwritable(self) -> PedigreeError | None:
        """What keeps this rank from writing there."""
        folder = self._folder.path
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder) as probe:
                probe.write(b"\0")
                probe.flush()
                os.fsync(probe.fileno())
        except OSError as error:
            return PedigreeError(f"{folder}: checkpoints can't be written there: {explained(error)}")
        return None

    def _failed(self, step: int, error: Exception) -> PedigreeError:
        reason = str(error) if isinstance(error, MissingPartError | PedigreeError) else explained(error)
        return PedigreeError(
            f"{self._folder.path}: the checkpoint of step {step} can't be written: {reason}. Then run again: training "
            "goes on from the checkpoint before it"
        )

    def _on_main(self, work: Callable[[], Result]) -> Result:
        """What ``work`` returns on the main rank; where it fails there, all ranks raise."""
        result: tuple[Result | None, str | None] = None, None
        if self._world.is_main:
            try:
                result = work(), None
            except PedigreeError as error:
                result = None, str(error)
            except OSError as error:
                result = None, f"{error.filename or self._folder.path}: {explained(error)}"
        value, problem = self._world.from_main(result)
        if problem is not None:
            raise PedigreeError(problem)
        return value

    def _agree(self, error: PedigreeError | None) -> None:
        _agree(self._world, error)


def _agree(world: World, error: PedigreeError | None) -> None:
    """Raise on all ranks what one of them met."""
    for text in world.gathered(error and str(error)):
        if text:
            raise PedigreeError(text)


def steps_to_keep(
    losses: Mapping[int, float | None], keep: KeepSpec, pinned: Collection[int] = (), behind: int = 0
) -> set[int]:
    """The steps among ``losses`` (step → validation loss of its checkpoint, if known) whose checkpoints stay.

    ``behind``: the step after the newest, or one that follows, can go so many steps back without going further.
    """
    last = sorted(losses)[-keep.last :]
    known = sorted((loss, step) for step, loss in losses.items() if loss is not None and math.isfinite(loss))
    best = [step for _, step in known[: keep.best]]
    regular = [step for step in losses if keep.every and step % keep.every == 0]
    far = max((step for step in losses if step <= max(losses) + 1 - behind), default=0)
    near = [step for step in losses if behind and step >= far]  # those between will be as far from newer ones
    return {*last, *best, *regular, *near, *(step for step in losses if step in pinned)}


def load_checkpoint(
    checkpoint: Path, world: World, model: nn.Module, optimizer: torch.optim.Optimizer | None = None
) -> dict[str, Any]:
    """Begin with the weights (and, where given, the optimiser's state) of a checkpoint of any run. Collective.

    Returns what its seal says: ``owner`` and ``progress`` among it. Raises ``PedigreeError`` for a checkpoint that is
    damaged, or of another model, or that holds numbers that are not finite.
    """
    content, reason = _examined(checkpoint, world)
    if reason is not None:
        raise PedigreeError(f"{checkpoint}: the checkpoint is damaged ({reason}); make it again")
    broken = _load_state(checkpoint, content, world, model, optimizer)
    if broken is not None:
        raise PedigreeError(f"{checkpoint}: {broken} holds numbers that are not finite; begin with another checkpoint")
    return content


def _examined(checkpoint: Path, world: World) -> tuple[dict[str, Any], str | None]:
    """What the seal says, and what is damaged, if anything. The ranks share the reading, and all learn the same.

    ``PedigreeError`` where something can't be read: that is no damage.
    """
    content: dict[str, Any] = {}
    found, unreadable = None, None
    try:
        content = read_manifest(checkpoint)
        mine = content["parts"][world.rank :: world.size]
        found = next((text for part in mine if (text := damage(checkpoint, part["index"], part["sha256"]))), None)
    except DamagedFileError as error:
        found = str(error)
    except PedigreeError as error:
        unreadable = error
    except OSError as error:
        unreadable = PedigreeError(f"{error.filename or checkpoint}: can't be read: {explained(error)}")
    _agree(world, unreadable)
    return content, next((text for text in world.gathered(found) if text), None)


def _load_state(
    checkpoint: Path,
    content: dict[str, Any],
    world: World,
    model: nn.Module,
    optimizer: torch.optim.Optimizer | None,
) -> str | None:
    """Returns the name of a tensor that is not finite, if there is one: the same on every rank."""
    with StoredParts(checkpoint, [part["index"] for part in content["parts"]]) as stored:
        try:
            load_weights(stored, model)
        except ValueError as error:
            raise PedigreeError(f"{checkpoint}: {error}") from None
        if optimizer is not None:
            load_optimizer(stored, model, optimizer)
    return next((name for name in world.gathered(not_finite(model, optimizer)) if name), None)


def _validation_loss(checkpoint: Path) -> float | None:
    loss: float | None = read_manifest(checkpoint)["validation_loss"]
    return loss
