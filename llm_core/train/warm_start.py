"""Starts a run from the weights of a model, or from the whole state of another run.

``TrainerSpec.start`` is a folder: of a model (``model.json``: only weights; the run starts at step 0 with a new
optimiser), or of a checkpoint (``checkpoint.json``: weights, moments and progress; the data order continues).
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from llm_core.errors import PedigreeError
from llm_core.experiment.base import canonical
from llm_core.model.files import load_model, read_info
from llm_core.train.checkpoint_manifest import CHECKPOINT_MANIFEST, read_manifest
from llm_core.train.checkpoints import Progress, load_checkpoint
from llm_core.train.checksummed_json import DamagedFileError
from llm_core.train.distribution import World
from llm_core.train.spec import TrainerSpec, result_fields
from llm_core.train.state import load_weights

BRANCH_FIELDS = (
    "start",
    "training.branch_points",
    "training.schedule",
    "training.steps",
    "training.tokens",
)
"""Fields in which a branch may differ from the run whose state it starts from: its end, and its learning rate."""

LONG_CONTEXT_FIELDS = re.compile(r"pattern(\..+)?|(layers\.\d+\.)?((mixer\.)?dropout|mixer\.position\.(?!kind$).+)")
"""Fields in which a model may differ from the one whose weights it starts from: dropout, and settings of positions.
``pattern`` is among them since ``layers`` has its content."""


def first_step(spec: TrainerSpec) -> int:
    """The number of steps done before the run starts."""
    if spec.start is None or not _is_checkpoint(spec.start):
        return 0
    step: int = _manifest(spec.start)["progress"]["step"]
    return step


def check_start(spec: TrainerSpec) -> None:
    """``PedigreeError`` when the run can't start from ``spec.start``."""
    if spec.start is None:
        return
    mine = json.loads(json.dumps(result_fields(spec)))
    if _is_checkpoint(spec.start):
        _compare(spec.start, _manifest(spec.start)["owner"], mine, _may_differ_in_a_branch)
        if first_step(spec) >= spec.training.steps:
            raise PedigreeError(
                f"{spec.start}: its run did {first_step(spec)} steps, but this one ends after {spec.training.steps}"
            )
        return
    model, info = read_info(spec.start)
    there = {**_fields(canonical(model, absent=True)), "vocab_size": info["vocab_size"]}
    here = {**_fields(canonical(spec.model, absent=True)), "vocab_size": spec.vocab_size}
    _compare(spec.start, there, here, _may_differ_in_a_longer_context)


def load_start(spec: TrainerSpec, world: World, model: nn.Module, optimizer: torch.optim.Optimizer) -> Progress:
    """Load ``spec.start`` into model and optimiser, and return the progress. Without a start: nothing. Collective."""
    if spec.start is None:
        return Progress()
    check_start(spec)
    if _is_checkpoint(spec.start):
        return Progress(**load_checkpoint(spec.start, world, model, optimizer)["progress"])
    finished, _ = load_model(spec.start)
    load_weights(_Loaded(finished.state_dict()), model)
    return Progress()


def _is_checkpoint(folder: Path) -> bool:
    return (folder / CHECKPOINT_MANIFEST).exists()


def _manifest(checkpoint: Path) -> dict[str, Any]:
    try:
        return read_manifest(checkpoint)
    except DamagedFileError as error:
        raise PedigreeError(
            f"{checkpoint}: the checkpoint is damaged ({error}), and this run starts from it; copy it again, or make "
            "the run that wrote it again"
        ) from None


def _may_differ_in_a_branch(name: str) -> bool:
    return any(name == other or name.startswith(f"{other}.") for other in BRANCH_FIELDS)


def _may_differ_in_a_longer_context(name: str) -> bool:
    return LONG_CONTEXT_FIELDS.fullmatch(name) is not None


def _fields(plain: Any, name: str = "") -> dict[str, Any]:
    """``field.0.field`` → value, for all fields of a model."""
    if not isinstance(plain, dict | list):
        return {name: plain}
    found: dict[str, Any] = {}
    for key, part in plain.items() if isinstance(plain, dict) else enumerate(plain):
        found |= _fields(part, f"{name}.{key}" if name else str(key))
    return found


def _compare(
    folder: Path, there: Mapping[str, Any], here: Mapping[str, Any], may_differ: Callable[[str], bool]
) -> None:
    # Another kind is the reason why its settings are others.
    for name in sorted({**there, **here}, key=lambda field: (not field.endswith("kind"), field)):
        if not may_differ(name) and there.get(name) != here.get(name):
            raise PedigreeError(
                f"{folder}: this run can't start from it: {name} is {there.get(name)!r} in that folder, but "
                f"{here.get(name)!r} in this run"
            )


class _Loaded:
    """Weights in memory, as a ``Stored`` for ``load_weights``."""

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        self._weights = {f"weights/{name}": tensor for name, tensor in weights.items()}

    def names(self) -> Iterable[str]:
        return self._weights

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(self._weights[name].shape)

    def rows(self, name: str, start: int, stop: int) -> Tensor:
        return self._weights[name][start:stop]

    def scalar(self, name: str) -> Tensor:
        return self._weights[name]
