"""Checkpoints: whole or not there, for any number of ranks, and only for the run that wrote them.

``checkpoints/step_00000100/`` holds ``state.pt`` (weights, moments, progress, and what run it belongs to) and
``checkpoint.json`` (its size and SHA-256). Both are written and synced under another name; one rename puts them in
place. State is kept in full, whatever the ranks hold of it, and each rank takes its part when it loads.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any, cast

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

from llm_core.errors import PedigreeError
from llm_core.train.distribution import World

STATE = "state.pt"
SEAL = "checkpoint.json"
_UNFINISHED = ".unfinished"


@dataclass
class Progress:
    """How far a run is: steps done, how many of them were skipped as bad, and how many of those just now in a row.

    ``data``: the state of the loader (``Loader.state``) as it goes on from here.
    """

    step: int = 0
    skipped: int = 0
    bad_in_a_row: int = 0
    data: dict[str, Any] = field(default_factory=dict)


def full(tensor: Tensor) -> Tensor:
    """All of a tensor that may be sharded, on the CPU. Collective: every rank must call it."""
    whole = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
    return whole.detach().cpu()


def full_weights(model: nn.Module, keep: bool) -> dict[str, Tensor]:
    """Name → whole weight; nothing for a rank that does not ``keep`` them. Collective."""
    return _gathered(model.state_dict(), keep)


def _gathered(tensors: Mapping[str, Tensor], keep: bool) -> dict[str, Tensor]:
    """Name → whole tensor on the CPU. Other ranks take part, but hold no more than one tensor at a time."""
    whole = {}
    for name, tensor in tensors.items():
        if keep:
            whole[name] = full(tensor)
        elif isinstance(tensor, DTensor):
            tensor.full_tensor()
    return whole


class Checkpoints:
    """The checkpoints of one run in ``folder``; ``owner`` is what decides its weights (``spec.result_fields``)."""

    def __init__(
        self, folder: Path, keep: int, owner: dict[str, Any], world: World, log: Callable[[str], None] = print
    ) -> None:
        self._folder, self._keep, self._owner, self._world, self._log = folder, keep, owner, world, log

    def save(self, model: nn.Module, optimizer: torch.optim.Optimizer, progress: Progress) -> None:
        """Write a checkpoint, and remove all but the ``keep`` newest. Collective.

        Raises ``PedigreeError`` when it can't be written (a full disk); earlier checkpoints are as they were.
        """
        state = {
            "owner": json.dumps(self._owner),
            "progress": asdict(progress),
            "weights": full_weights(model, keep=self._world.is_main),
            "optimizer": _optimizer_state(model, optimizer, keep=self._world.is_main),
            "rng": torch.get_rng_state(),
        }
        if self._world.is_main:
            try:
                self._write(progress.step, state)
            except OSError as error:
                raise PedigreeError(
                    f"{self._folder}: the checkpoint of step {progress.step} can't be written: {error.strerror}. "
                    "Make room there, and run again: training goes on from the checkpoint before it"
                ) from None

    def resume(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> Progress:
        """Load the newest whole checkpoint, and return its progress; without one, return that of a start. Collective.

        A damaged checkpoint is removed with a line in the log, so that the one before it is used. Raises
        ``PedigreeError`` for a checkpoint of another run.
        """
        newest = self._world.from_main(self._newest_whole() if self._world.is_main else None)
        if newest is None:
            return Progress()
        path = Path(newest) / STATE
        state = torch.load(path, map_location="cpu", weights_only=True)
        self._check_owner(path, json.loads(state["owner"]))
        _load_weights(model, state["weights"])
        _load_optimizer_state(model, optimizer, state["optimizer"])
        torch.set_rng_state(state["rng"])
        progress = Progress(**state["progress"])
        self._log(f"resuming after step {progress.step} from {newest}")
        return progress

    def _write(self, step: int, state: dict[str, Any]) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        final = self._folder / f"step_{step:08d}"
        unfinished = self._folder / f"{final.name}{_UNFINISHED}"
        shutil.rmtree(unfinished, ignore_errors=True)
        try:
            unfinished.mkdir()
            seal = _write_state(unfinished / STATE, state)
            with (unfinished / SEAL).open("w", encoding="utf-8") as file:
                json.dump(seal, file)
                _sync(file.fileno())
            _sync_folder(unfinished)
        except OSError:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise
        if final.exists():
            self._remove(final)
        unfinished.rename(final)
        _sync_folder(self._folder)
        for old in self._all()[self._keep :]:
            self._remove(old)

    def _remove(self, checkpoint: Path) -> None:
        """Take it away in one step, so that a half-removed one never stands there as a checkpoint."""
        leftover = checkpoint.with_name(f"{checkpoint.name}.old{_UNFINISHED}")
        shutil.rmtree(leftover, ignore_errors=True)
        checkpoint.rename(leftover)
        shutil.rmtree(leftover)

    def _all(self) -> list[Path]:
        """All checkpoints, newest first."""
        return sorted((path for path in self._folder.glob("step_*") if path.suffix != _UNFINISHED), reverse=True)

    def _newest_whole(self) -> str | None:
        for leftover in self._folder.glob(f"*{_UNFINISHED}"):
            shutil.rmtree(leftover)
        for checkpoint in self._all():
            damage = _damage(checkpoint)
            if damage is None:
                return str(checkpoint)
            self._log(f"{checkpoint}: the checkpoint is damaged ({damage}); it is removed, and the one before it used")
            self._remove(checkpoint)
        return None

    def _check_owner(self, path: Path, found: dict[str, Any]) -> None:
        for name in sorted({**found, **self._owner}):
            if found.get(name) != self._owner.get(name):
                raise PedigreeError(
                    f"{path}: the checkpoint is of another run: {name} is {found.get(name)!r} there and "
                    f"{self._owner.get(name)!r} here; train in another folder, or remove {self._folder}"
                )


class _HashedFile:
    """Passes writes on to a file, and hashes them. It remembers an error, since torch replaces it with its own."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self.sha256 = hashlib.sha256()
        self.size = 0
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        content = memoryview(data).cast("B")
        try:
            self._file.write(content)
        except OSError as error:
            self.error = error
            raise
        self.sha256.update(content)
        self.size += len(content)
        return len(content)

    def flush(self) -> None:
        self._file.flush()


def _write_state(path: Path, state: dict[str, Any]) -> dict[str, Any]:
    """Write and sync ``state``; returns its seal."""
    with path.open("wb", buffering=0) as file:
        hashed = _HashedFile(file)
        try:
            torch.save(state, cast(IO[bytes], hashed))
        except RuntimeError:
            if hashed.error is None:
                raise
            raise hashed.error from None
        _sync(file.fileno())
    return {"size": hashed.size, "sha256": hashed.sha256.hexdigest()}


def _damage(checkpoint: Path) -> str | None:
    """What is wrong with it; None when it is as it was written."""
    try:
        seal = json.loads((checkpoint / SEAL).read_bytes())
        size = (checkpoint / STATE).stat().st_size
        if size != seal["size"]:
            return f"{STATE} has {size} bytes instead of {seal['size']}"
        with (checkpoint / STATE).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return None if digest == seal["sha256"] else f"the content of {STATE} has changed"
    except (OSError, ValueError, KeyError, TypeError) as error:
        return repr(error)


def _sync(descriptor: int) -> None:
    os.fsync(descriptor)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        _sync(descriptor)
    finally:
        os.close(descriptor)


def _optimizer_state(model: nn.Module, optimizer: torch.optim.Optimizer, keep: bool) -> dict[str, dict[str, Tensor]]:
    """Parameter name → its moments and step count, whole. Parameters that were never stepped have none. Collective."""
    return {
        name: _gathered(optimizer.state[parameter], keep)
        for name, parameter in model.named_parameters()
        if parameter in optimizer.state
    }


def _part(whole: Tensor, like: Tensor) -> Tensor:
    """This rank's part of ``whole``, laid out as ``like``."""
    if isinstance(like, DTensor) and whole.ndim:
        return distribute_tensor(whole.to(like.device), like.device_mesh, like.placements, src_data_rank=None)
    return whole


@torch.no_grad()
def _load_weights(model: nn.Module, weights: dict[str, Tensor]) -> None:
    targets = model.state_dict()
    assert targets.keys() == weights.keys(), f"weights differ in name: {sorted(targets.keys() ^ weights.keys())}"
    for name, target in targets.items():
        target.copy_(_part(weights[name], target))


def _load_optimizer_state(
    model: nn.Module, optimizer: torch.optim.Optimizer, state: dict[str, dict[str, Tensor]]
) -> None:
    names = {parameter: name for name, parameter in model.named_parameters()}
    ordered = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    parts = {
        number: {key: _part(value, parameter) for key, value in state[names[parameter]].items()}
        for number, parameter in enumerate(ordered)
        if names[parameter] in state
    }
    optimizer.load_state_dict({"state": parts, "param_groups": optimizer.state_dict()["param_groups"]})
