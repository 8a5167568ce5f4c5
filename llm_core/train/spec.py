"""The specification of a training process: one JSON file, so a GPU machine needs nothing else.

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

# Files and folders in the work folder, in addition to metrics and locks.
CHECKPOINTS = "checkpoints"
FINAL = "final"
SUMMARY = "summary.json"
FAILURE = "failure.txt"
"""Why the last attempt did not finish; the launcher reads it."""


def checkpoint_name(step: int) -> str:
    """The folder name of the checkpoint of ``step``."""
    return f"step_{step:08d}"


class TrainerSpec(SpreadSpec):
    """``model``, ``training``, ``vocab_size``, ``seed``, ``shards`` and ``start`` determine the result; others do not.

    torchrun sets the number of ranks.
    """

    plugins: Annotated[tuple[str, ...], AfterValidator(load_plugins)] = ()
    """The plug-ins of model, training and callbacks (``llm_core.plugins``). This field must be first: it loads them."""
    model: ModelSpec
    training: TrainingSpec
    vocab_size: Count
    seed: Annotated[int, Field(ge=0, lt=2**63)]
    shards: Path
    """The folder of token shards. Relative paths start at the folder of the JSON file."""
    work: Path
    """The folder for checkpoints, metrics and the final weights."""
    start: Path | None = None
    """A model or checkpoint to start from (``llm_core.train.warm_start``); None for new weights."""
    tokenizer: Path | None = None
    """A ``tokenizer.json``, for the text of samples and bits per byte."""
    name: str = "training"
    """The name of the run in messages and trackers."""
    code: CodeClaim | None = None
    """The code with which the run was planned; the trainer compares it with its own."""
    derived: str = ""
    """The digest of values derived from ``model`` and ``training`` (``derived_digest``), compared in the same way."""
    identity: str | None = None
    """The identity for ``pedigree why``; None for a run outside a store."""
    tracking: TrackingSpec = TrackingSpec()
    bundle: BundleManifest | None = None
    """The manifest of the bundle that trains this run; None without a bundle."""

    @model_validator(mode="after")
    def _lengths(self) -> "TrainerSpec":
        check_lengths(self.model, self.training)
        check_compiled(self.training, self, where="")
        if self.start is None:
            check_clamp(self.training, self.vocab_size)
        return self

    @classmethod
    def of(cls, compute: ComputeSpec, **fields: Any) -> "TrainerSpec":
        """A specification with the settings of ``compute``."""
        taken = {name: getattr(compute, name) for name in SpreadSpec.model_fields}
        return cls(**taken, **fields)

    def write(self, path: Path) -> None:
        """Write it as JSON."""
        path.write_text(self.model_dump_json(indent=2) + "\n", encoding="utf-8")


def derived_digest(model: ModelSpec, training: TrainingSpec) -> str:
    """A digest of both sections with all derived values: layers, steps, batches."""
    return sha256(json.dumps([canonical(model), canonical(training)]).encode()).hexdigest()[:32]


@runtime_only("compares code, and makes nothing")
def check_code(spec: TrainerSpec) -> None:
    """``PedigreeError`` unless this process has the planned code, and derives the planned values."""
    if spec.code is not None:
        spec.code.check(spec.name)
    if spec.derived not in ("", derived_digest(spec.model, spec.training)):
        if spec.bundle is not None:
            raise PedigreeError(
                f"{spec.name}: model or training in spec.json were changed after the bundle was written: change the "
                "experiment instead, and write another bundle"
            )
        raise PedigreeError(
            f"{spec.name}: the code that resolves model and training changed since the run was planned: the same "
            "fields now give other layers, steps or batches. Run again: it is now another run"
        )


def read_spec(path: Path) -> TrainerSpec:
    """Read ``path``; ``PedigreeError`` with file and field when it is not a valid specification."""
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
    """``section.field`` → value, for everything that determines the weights. A checkpoint belongs to these fields.

    Shards count by the digest of their index, and a start by the digest of its manifest, so folders may move.
    """
    index = sha256((spec.shards / "shards.json").read_bytes()).hexdigest()
    values = {name: getattr(spec, name) for name in ("model", "training", "vocab_size", "seed")}
    start = {} if spec.start is None else {"start": _start_digest(spec.start)}
    return dict(_flat({**canonical(values), "shards": index, **start}))


def _start_digest(folder: Path) -> str:
    """The digest of the manifest of a checkpoint or model folder."""
    for name in ("checkpoint.json", "model.json"):
        if (folder / name).is_file():
            return sha256((folder / name).read_bytes()).hexdigest()
    raise PedigreeError(f"{folder}: neither a checkpoint nor a model: there is no checkpoint.json and no model.json")


def _flat(value: Any, name: str = "") -> list[tuple[str, Any]]:
    if not isinstance(value, dict):
        return [(name, value)]
    return [item for key, part in value.items() for item in _flat(part, f"{name}.{key}" if name else key)]
