"""What a training process is told: one JSON file, so that a bare GPU machine needs nothing else.

``torchrun --standalone --nproc-per-node N -m llm_core.train spec.json`` trains it on N ranks.
"""

import json
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field, ValidationError, model_validator

from llm_core.errors import PedigreeError
from llm_core.experiment.base import Count, canonical, message, problems
from llm_core.experiment.lengths import check_clamp, check_compiled, check_lengths
from llm_core.experiment.model import ModelSpec
from llm_core.experiment.runtime import ComputeSpec, SpreadSpec, TrackingSpec
from llm_core.experiment.training import TrainingSpec
from llm_core.graph.code_claim import CodeClaim
from llm_core.plugins import load_plugins
from llm_core.runtime_only import runtime_only
from llm_core.train.bundle_manifest import BundleManifest

# What lies in the work folder, beside metrics and locks.
CHECKPOINTS = "checkpoints"
FINAL = "final"
SUMMARY = "summary.json"
FAILURE = "failure.txt"
"""Why the last attempt did not finish, for whoever launched it."""


def checkpoint_name(step: int) -> str:
    """The folder name of the checkpoint of ``step``."""
    return f"step_{step:08d}"


class TrainerSpec(SpreadSpec):
    """``model``, ``training``, ``vocab_size``, ``seed`` and the shards decide the result; the others say where and how.

    The number of ranks is torchrun's.
    """

    plugins: Annotated[tuple[str, ...], AfterValidator(load_plugins)] = ()
    """Those that model, training and callbacks need (``llm_core.plugins``). They stand first, and are read first."""
    model: ModelSpec
    training: TrainingSpec
    vocab_size: Count
    seed: Annotated[int, Field(ge=0, lt=2**63)]
    shards: Path
    """The folder of token shards; relative paths start at the folder of the JSON file."""
    work: Path
    """Where checkpoints, metrics and the final weights go."""
    start: Path | None = None
    """What the run begins with, where it is not fresh weights (``llm_core.train.warm_start``)."""
    tokenizer: Path | None = None
    """A ``tokenizer.json`` that turns samples into text."""
    name: str = "training"
    """What people see in a tracker."""
    code: CodeClaim | None = None
    """The code that the run is planned with, which the trainer compares with its own."""
    derived: str = ""
    """The same for what follows from the fields of ``model`` and ``training`` (``derived_digest``)."""
    identity: str | None = None
    """By which ``pedigree why`` finds the run; None where no store has it."""
    tracking: TrackingSpec = TrackingSpec()
    bundle: BundleManifest | None = None
    """Of a bundle: the stage that it trains, and the code and inputs that it must be trained with."""

    @model_validator(mode="after")
    def _lengths(self) -> "TrainerSpec":
        check_lengths(self.model, self.training)
        check_compiled(self.training, self, where="")
        if self.start is None:
            check_clamp(self.training, self.vocab_size)
        return self

    @classmethod
    def of(cls, compute: ComputeSpec, **fields: Any) -> "TrainerSpec":
        """A specification that runs as ``compute`` says."""
        taken = {name: getattr(compute, name) for name in SpreadSpec.model_fields}
        return cls(**taken, **fields)

    def write(self, path: Path) -> None:
        """Write it as JSON."""
        path.write_text(self.model_dump_json(indent=2) + "\n", encoding="utf-8")


def derived_digest(model: ModelSpec, training: TrainingSpec) -> str:
    """A digest of two sections with all that is derived from their fields: layers, steps, batches."""
    return sha256(json.dumps([canonical(model), canonical(training)]).encode()).hexdigest()[:32]


@runtime_only("compares code, and makes nothing")
def check_code(spec: TrainerSpec) -> None:
    """Raise ``PedigreeError`` when this process runs, or derives from the same fields, something else than planned."""
    if spec.code is not None:
        spec.code.check(spec.name)
    if spec.derived not in ("", derived_digest(spec.model, spec.training)):
        if spec.bundle is not None:
            raise PedigreeError(
                f"{spec.name}: model or training of spec.json were changed after the bundle was made: change the "
                "experiment instead, and make another bundle"
            )
        raise PedigreeError(
            f"{spec.name}: the code that resolves model and training is not what it was when the run began: the same "
            "fields mean other layers, steps or batches. Run again: it is another run now"
        )


def read_spec(path: Path) -> TrainerSpec:
    """Read ``path``; ``PedigreeError`` with file and field for anything that is no specification."""
    try:
        spec = TrainerSpec.model_validate_json(path.read_bytes())
    except OSError as error:
        raise PedigreeError(f"{path}: can't be read: {error.strerror}") from None
    except ValidationError as error:
        lines = [f"{path}: {'.'.join(map(str, item['loc'])) or 'file'}: {message(item)}" for item in problems(error)]
        raise PedigreeError("\n".join(lines)) from None
    folder = path.resolve().parent
    places = {name: getattr(spec, name) for name in ("shards", "work", "start", "tokenizer")}
    return spec.model_copy(update={name: None if path is None else folder / path for name, path in places.items()})


def result_fields(spec: TrainerSpec) -> dict[str, Any]:
    """``section.field`` → value for everything that decides the weights: what a checkpoint belongs to.

    The shards count by their index, and what it begins with by its description, so that folders may move.
    """
    index = sha256((spec.shards / "shards.json").read_bytes()).hexdigest()
    values = {name: getattr(spec, name) for name in ("model", "training", "vocab_size", "seed")}
    start = {} if spec.start is None else {"start": _described(spec.start)}
    return dict(_flat({**canonical(values), "shards": index, **start}))


def _described(folder: Path) -> str:
    """A digest of the file that says what a checkpoint or a model folder holds."""
    for name in ("checkpoint.json", "model.json"):
        if (folder / name).is_file():
            return sha256((folder / name).read_bytes()).hexdigest()
    raise PedigreeError(f"{folder}: neither a checkpoint nor a model: there is no checkpoint.json and no model.json")


def _flat(value: Any, name: str = "") -> list[tuple[str, Any]]:
    if not isinstance(value, dict):
        return [(name, value)]
    return [item for key, part in value.items() for item in _flat(part, f"{name}.{key}" if name else key)]
