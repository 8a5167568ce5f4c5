"""What a training process is told: one JSON file, so that a bare GPU machine needs nothing else.

``torchrun --standalone --nproc-per-node N -m llm_core.train spec.json`` trains it on N ranks.
"""

from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError

from llm_core.errors import PedigreeError
from llm_core.experiment.base import Count, canonical
from llm_core.experiment.model import ModelSpec
from llm_core.experiment.runtime import ComputeSpec, SpreadSpec, TrackingSpec
from llm_core.experiment.training import TrainingSpec

RUNTIME_ONLY = True

# What lies in the work folder, beside metrics and locks.
CHECKPOINTS = "checkpoints"
FINAL = "final"
SUMMARY = "summary.json"
FAILURE = "failure.txt"
"""Why the last attempt did not finish, for whoever launched it."""


class TrainerSpec(SpreadSpec):
    """``model``, ``training``, ``vocab_size``, ``seed`` and the shards decide the result; the others say where and how.

    The number of ranks is torchrun's.
    """

    model: ModelSpec
    training: TrainingSpec
    vocab_size: Count
    seed: Annotated[int, Field(ge=0, lt=2**63)]
    shards: Path
    """The folder of token shards; relative paths start at the folder of the JSON file."""
    work: Path
    """Where checkpoints, metrics and the final weights go."""
    name: str = "training"
    """What people see in a tracker."""
    tracking: TrackingSpec = TrackingSpec()

    @classmethod
    def of(cls, compute: ComputeSpec, **fields: Any) -> "TrainerSpec":
        """A specification that runs as ``compute`` says."""
        taken = {name: getattr(compute, name) for name in SpreadSpec.model_fields}
        return cls(**taken, **fields)

    def write(self, path: Path) -> None:
        """Write it as JSON."""
        path.write_text(self.model_dump_json(indent=2) + "\n", encoding="utf-8")


def read_spec(path: Path) -> TrainerSpec:
    """Read ``path``; ``PedigreeError`` with file and field for anything that is no specification."""
    try:
        spec = TrainerSpec.model_validate_json(path.read_bytes())
    except OSError as error:
        raise PedigreeError(f"{path}: can't be read: {error.strerror}") from None
    except ValidationError as error:
        lines = [f"{path}: {'.'.join(map(str, item['loc'])) or 'file'}: {item['msg']}" for item in error.errors()]
        raise PedigreeError("\n".join(lines)) from None
    folder = path.resolve().parent
    return spec.model_copy(update={"shards": folder / spec.shards, "work": folder / spec.work})


def result_fields(spec: TrainerSpec) -> dict[str, Any]:
    """``section.field`` → value for everything that decides the weights: what a checkpoint belongs to.

    The shards count by their index, so that a folder may move.
    """
    index = sha256((spec.shards / "shards.json").read_bytes()).hexdigest()
    values = {name: getattr(spec, name) for name in ("model", "training", "vocab_size", "seed")}
    return dict(_flat({**canonical(values), "shards": index}))


def _flat(value: Any, name: str = "") -> list[tuple[str, Any]]:
    if not isinstance(value, dict):
        return [(name, value)]
    return [item for key, part in value.items() for item in _flat(part, f"{name}.{key}" if name else key)]
