"""What a run begins with: fresh weights, the weights of a finished model, or the whole state of another run.

``TrainerSpec.start`` is a folder: of a model (``model.json``: weights alone, for step 0 with a new optimiser), or a
checkpoint (``checkpoint.json``: weights, moments and how far it is, for a run that goes on in the same data order).
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from llm_core.errors import PedigreeError
from llm_core.experiment.base import canonical
from llm_core.model.files import load_model, read_info
from llm_core.train.checkpoints import Progress, load_from
from llm_core.train.distribution import World
from llm_core.train.seal import SEAL, DamagedSealError, read_seal
from llm_core.train.spec import TrainerSpec, result_fields
from llm_core.train.state import load_weights

OF_A_BRANCH = (
    "start",
    "training.branch_points",
    "training.schedule",
    "training.steps",
    "training.tokens",
    "training.validate_every",
    "training.validation_tokens",
)
"""What may be another than in the run whose state it begins with: where it ends, and how its rate gets there. The last
two are named by states of before they left identities."""

OF_A_LONGER_CONTEXT = ("attention_dropout", "dropout", "layers", "rope_scaling", "rope_theta")
"""Fields of a model that may be others than those of the model whose weights it begins with."""


def first_step(spec: TrainerSpec) -> int:
    """Steps that lie behind the run when it begins."""
    if spec.start is None or not _is_checkpoint(spec.start):
        return 0
    step: int = _sealed(spec.start)["progress"]["step"]
    return step


def check_start(spec: TrainerSpec) -> None:
    """``PedigreeError`` where the run can't begin with what ``start`` names: before any work."""
    if spec.start is None:
        return
    mine = json.loads(json.dumps(result_fields(spec)))
    if _is_checkpoint(spec.start):
        _compare(spec.start, _sealed(spec.start)["owner"], mine, OF_A_BRANCH)
        if first_step(spec) >= spec.training.steps:
            raise PedigreeError(
                f"{spec.start}: its run is {first_step(spec)} steps far, and this one ends after {spec.training.steps}"
            )
        return
    model, info = read_info(spec.start)
    there = {**canonical(model, absent=True), "vocab_size": info["vocab_size"]}
    here = {**canonical(spec.model, absent=True), "vocab_size": spec.vocab_size}
    _compare(spec.start, there, here, OF_A_LONGER_CONTEXT)


def begin(spec: TrainerSpec, world: World, model: nn.Module, optimizer: torch.optim.Optimizer) -> Progress:
    """Put what ``start`` holds into model and optimiser, and return how far the run is. Collective."""
    if spec.start is None:
        return Progress()
    check_start(spec)
    if _is_checkpoint(spec.start):
        return Progress(**load_from(spec.start, world, model, optimizer)["progress"])
    finished, _ = load_model(spec.start)
    load_weights(_Loaded(finished.state_dict()), model)
    return Progress()


def _is_checkpoint(folder: Path) -> bool:
    return (folder / SEAL).exists()


def _sealed(checkpoint: Path) -> dict[str, Any]:
    try:
        return read_seal(checkpoint)
    except DamagedSealError as error:
        raise PedigreeError(f"{checkpoint}: the checkpoint is damaged ({error}); make it again") from None


def _compare(folder: Path, there: Mapping[str, Any], here: Mapping[str, Any], may_differ: tuple[str, ...]) -> None:
    for name in sorted({**there, **here}):
        free = any(name == other or name.startswith(f"{other}.") for other in may_differ)
        if not free and there.get(name) != here.get(name):
            raise PedigreeError(
                f"{folder}: a run can't begin with this: {name} is {there.get(name)!r} there, and {here.get(name)!r} "
                "here"
            )


class _Loaded:
    """Weights in memory, as ``load_weights`` reads them."""

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
