"""Checkpoints: sharded, asynchronous, atomic, readable by any number of ranks, and bound to one run.

``checkpoints/step_00000100/`` contains one part per rank (``llm_core.train.rank_files``) and the manifest
``checkpoint.json``. Each rank writes and syncs its part in a temporary folder. When all parts are there, the main rank
writes the manifest, and one rename publishes the folder. ``llm_core.train.checkpoint_folder`` finds the run's own
checkpoints.

Why not ``torch.distributed.checkpoint``: it blocks training longer, has no digests, and reads its ``.metadata`` with
``pickle.load`` (``docs/results/checkpoint_writer.md``).

Checkpoints contain no state of random generators: every step is seeded anew (``llm_core.train.seeding``).
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
    """The progress of a run: steps done, how many of them were skipped, and the current number of bad steps in a row.

    ``data``: the loader's state (``Loader.state``) for the next step. ``callbacks``: the states of the guard and the
    callbacks. All values are JSON data.
    """

    step: int = 0
    skipped: int = 0
    bad_in_a_row: int = 0
    data: dict[str, Any] = field(default_factory=dict)
    callbacks: dict[str, Any] = field(default_factory=dict)


class Checkpoints:
    """The checkpoints of one run in ``folder``.

    ``owner``: the fields that determine the run's weights (``spec.result_fields``). ``keep``: which checkpoints to
    keep. Those of the steps ``pinned`` are always kept, and those that a rollback by ``behind`` steps needs.

    All methods except ``check`` are collective: all ranks call them at the same point, and all raise when one fails.
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
        self._owner = json.loads(json.dumps(owner))  # as JSON gives it back: tuples become lists
        self._folder = CheckpointFolder(folder, self._owner, log)
        self._keep, self._world, self._log = keep, world, log
        self._reported: set[str] = set()
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
        """Start a checkpoint of the current state, and return while a thread writes it. Collective.

        ``validation_loss``: of exactly these weights, if known; it ranks the best checkpoints. Waits for the checkpoint
        before. ``check``, the next ``save`` or ``wait`` raise an error of the thread.
        """
        self.wait()
        if self._random_part is None:
            self._random_part = self._world.from_main(random_part())
        rank, step = self._world.rank, progress.step
        unfinished = self._folder.unfinished(step, self._random_part)
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

        def publish() -> None:
            self._publish(unfinished, step, json.loads(content))

        self._saving = AsyncSave(step, write, publish if self._world.is_main else None)

    def check(self) -> None:
        """Raise ``PedigreeError`` when this rank could not write its part (a full disk). Free, and not collective.

        Earlier checkpoints are not affected.
        """
        if self._saving and self._saving.error:
            raise self._failed(self._saving.step, self._saving.error)

    def wait(self) -> None:
        """Wait until the newest checkpoint is published. A run calls this before it ends or stops."""
        saving, self._saving = self._saving, None
        if saving is None:
            return
        # First agree on the parts: the main rank would wait forever for one that never comes.
        for finished in (saving.written, saving.published):
            finished.wait()
            self._agree(None if saving.error is None else self._failed(saving.step, saving.error))

    def resume(self, model: nn.Module, optimizer: torch.optim.Optimizer, at_most: int | None = None) -> Progress:
        """Load the newest checkpoint, and return its progress. Without one, change nothing, and return an empty
        progress. Collective.

        ``at_most``: load this step or an earlier one, and remove newer checkpoints (for a rollback). A damaged
        checkpoint is removed with a line in the log, and the one before it is used. Entries of others are not touched,
        and the log names them once. Raises ``PedigreeError`` when all checkpoints are of another run, when one is of
        another version or has numbers that are not finite, and when the folder can't be read or written.
        """
        self.wait()
        self._agree(self._unwritable())
        self._on_main(lambda: self._tidy(at_most))
        while (newest := self._on_main(self._newest)) is not None:
            content, reason = _verified(newest, self._world)
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
                f"{checkpoint}: {broken} has numbers that are not finite: remove that folder, and run again: "
                "training resumes from the checkpoint before it"
            )
        progress = Progress(**content["progress"])
        self._log(f"resuming after step {progress.step} from {checkpoint}")
        return progress

    def _publish(self, unfinished: Path, step: int, content: dict[str, Any]) -> None:
        """Wait for the parts of all ranks, publish the checkpoint, and remove those that are not kept."""
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
        """Remove leftovers of killed writers and checkpoints after ``at_most``; log the entries of others."""
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
        new = [f"{name} ({reason})" for name, reason in found.foreign.items() if name not in self._reported]
        self._reported.update(found.foreign)
        if new:
            self._log(f"{self._folder.path}: not touched, since not of this run: {', '.join(new)}")

    def _unwritable(self) -> PedigreeError | None:
        """The error that this rank gets when it writes there, if any."""
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
            "resumes from the checkpoint before it"
        )

    def _on_main(self, work: Callable[[], Result]) -> Result:
        """Run ``work`` on the main rank, and return its result on all ranks. All raise when it fails."""
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
    """Raise the first error of any rank on all ranks."""
    for text in world.gathered(error and str(error)):
        if text:
            raise PedigreeError(text)


def steps_to_keep(
    losses: Mapping[int, float | None], keep: KeepSpec, pinned: Collection[int] = (), behind: int = 0
) -> set[int]:
    """The steps whose checkpoints are kept. ``losses``: step → validation loss of its checkpoint, if known.

    ``behind``: from the next step on, a rollback by this many steps must find a checkpoint at or before its target.
    """
    last = sorted(losses)[-keep.last :]
    known = sorted((loss, step) for step, loss in losses.items() if loss is not None and math.isfinite(loss))
    best = [step for _, step in known[: keep.best]]
    regular = [step for step in losses if keep.every and step % keep.every == 0]
    far = max((step for step in losses if step <= max(losses) + 1 - behind), default=0)
    near = [step for step in losses if behind and step >= far]  # a later rollback may need those in between
    return {*last, *best, *regular, *near, *(step for step in losses if step in pinned)}


def load_checkpoint(
    checkpoint: Path, world: World, model: nn.Module, optimizer: torch.optim.Optimizer | None = None
) -> dict[str, Any]:
    """Load the weights (and the state of ``optimizer``, if given) of a checkpoint of any run. Collective.

    Returns its manifest, with ``owner`` and ``progress``. Raises ``PedigreeError`` when the checkpoint is damaged, is
    of another model, or has numbers that are not finite.
    """
    content, reason = _verified(checkpoint, world)
    if reason is not None:
        raise PedigreeError(f"{checkpoint}: the checkpoint is damaged ({reason}); make it again")
    broken = _load_state(checkpoint, content, world, model, optimizer)
    if broken is not None:
        raise PedigreeError(f"{checkpoint}: {broken} has numbers that are not finite; begin with another checkpoint")
    return content


def _verified(checkpoint: Path, world: World) -> tuple[dict[str, Any], str | None]:
    """The manifest, and the damage, if any. Each rank reads a share of the parts; all get the same result.

    ``PedigreeError`` when a file can't be read: that is not damage.
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
    """Returns the name of a tensor that is not finite, if any; the same on all ranks."""
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
