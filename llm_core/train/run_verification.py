"""Verifies a finished run: its files, metrics, checkpoints and weights, against its record and the shards."""

import json
from collections.abc import Mapping
from pathlib import Path
from types import NoneType
from typing import Any

import torch

from llm_core.errors import PedigreeError
from llm_core.experiment.base import canonical
from llm_core.model.decoder import Decoder
from llm_core.model.files import load_model, read_info
from llm_core.tokens.batch_sizes import tokens_before
from llm_core.tokens.loader import Loader
from llm_core.tokens.reader import ShardReader
from llm_core.train.bundle_manifest import FileDigest, file_digests
from llm_core.train.checkpoint_manifest import CHECKPOINT_MANIFEST, read_manifest
from llm_core.train.checksummed_json import DamagedFileError
from llm_core.train.distribution import World
from llm_core.train.metrics_log import METRICS, read_metrics
from llm_core.train.rank_files import StoredParts, damage
from llm_core.train.run_record import RECORD, result_files
from llm_core.train.spec import CHECKPOINTS, FINAL, SUMMARY, TrainerSpec, checkpoint_name, result_fields
from llm_core.train.validation import measure
from llm_core.train.warm_start import first_step

_BATCHES_COMPARED = 256
"""The number of steps, evenly spread, whose batches are compared with the data order."""

_NUMBER, _NUMBER_OR_NONE = (int, float), (int, float, NoneType)
_FIELDS = {
    **dict.fromkeys(("seconds", "time"), _NUMBER),
    **dict.fromkeys(("loss", "lr", "grad_norm", "tokens_per_second", "validation_loss"), _NUMBER_OR_NONE),
    "skipped": (bool,),
}
"""Fields of a line of metrics, and their types."""

_FLOPS = 4e11
"""The most FLOPs to recompute the validation loss: half a minute on a slow core."""

_TOLERANCE, _TOLERANCE_OF_FP32 = 0.03, 2e-3
"""The largest difference in nats between the run's validation loss and its fp32 value here."""


def check_files(folder: Path, files: Mapping[str, FileDigest], spec: TrainerSpec) -> Path | None:
    """Compare the files with their digests, and return the newest checkpoint that was copied back, if any.

    Raises ``PedigreeError`` for the first file that is missing, changed, or not of the run. Checkpoints may be missing,
    except those of branch points.
    """
    present = result_files(folder)
    needed = {f"{CHECKPOINTS}/{checkpoint_name(step)}/{CHECKPOINT_MANIFEST}" for step in spec.training.branch_points}
    for name in sorted({*files, *needed}):
        if name not in present and (name in needed or not name.startswith(CHECKPOINTS)):
            raise PedigreeError(f"{folder / name}: is missing; copy it too, from the machine that trained")
    for name, path in present.items():
        if name not in files and not name.startswith(CHECKPOINTS):
            raise PedigreeError(
                f"{path}: this run did not write it ({RECORD} does not list it); move it out of {folder}"
            )
    for name, found in file_digests({name: path for name, path in present.items() if name in files}).items():
        if found != files[name]:
            sizes = "" if found.size == files[name].size else f" ({found.size:,} bytes instead of {files[name].size:,})"
            raise PedigreeError(
                f"{folder / name}: is not as the trainer wrote it{sizes}: damaged or edited; copy it again from the "
                "machine of the run"
            )
    for name in sorted(needed):
        if wrong := _damaged((folder / name).parent, spec):
            raise PedigreeError(f"{(folder / name).parent}: {wrong}; copy it again from the machine of the run")
    newest = max((name for name in files if name in present and name.startswith(CHECKPOINTS)), default=None)
    return None if newest is None else (folder / newest).parent


def check_summary(path: Path) -> dict[str, Any]:
    """The content of ``summary.json``; ``PedigreeError`` when it is not a summary."""
    try:
        summary: dict[str, Any] = json.loads(path.read_bytes())
        if not all(isinstance(summary[name], int) and summary[name] > 0 for name in ("parameters", "ranks")):
            raise TypeError("parameters and ranks must be whole numbers above 0")
        if not isinstance(summary["device"], str):
            raise TypeError("device must be a text")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PedigreeError(
            f"{path}: not a readable summary of a run ({error!r}); copy it again from the machine that trained"
        ) from None
    return summary


def check_metrics(spec: TrainerSpec, loader: Loader) -> list[dict[str, Any]]:
    """The records of ``metrics.jsonl``; ``PedigreeError`` unless they are those of this run on these shards.

    The file must contain every step once, in order, with the right number of tokens, and with a loss unless it was
    skipped. In a sample of steps, the batch must be that of the data order.
    """
    path, steps = spec.work / METRICS, spec.training.steps
    records = read_metrics(path)
    expected = range(first_step(spec) + 1, steps + 1)
    if len(records) != path.read_bytes().count(b"\n") or [record["step"] for record in records] != [*expected]:
        wrong = next(
            (number for number, step in enumerate(expected) if _step_of(records, number) != step), len(expected)
        )
        raise PedigreeError(
            f"{path}, line {wrong + 1}: expected the steps {expected[0]} to {steps}, once each and in order, but here "
            f"is {_step_of(records, wrong) or 'the end'}: the file is not of this run"
        )
    compared = {expected[number * len(expected) // _BATCHES_COMPARED] for number in range(_BATCHES_COMPARED)}
    compared |= {expected[0], steps}
    for number, record in enumerate(records, start=1):
        step, place = record["step"], f"{path}, line {number}"
        if record.get("tokens") != tokens_before(spec.training, step):
            raise PedigreeError(
                f"{place}: {record.get('tokens')} tokens after step {step}, but the schedule has "
                f"{tokens_before(spec.training, step)}: the file was edited, or is of another run"
            )
        for name, types in _FIELDS.items():
            if not isinstance(record.get(name), types):
                raise PedigreeError(f"{place}: {name} is {record.get(name)!r}: edited, or of another version")
        if record.get("loss") is None and not record.get("skipped"):
            raise PedigreeError(f"{place}: step {step} has no finite loss, and was not skipped")
        if step in compared and record.get("batch") != loader.digest(step - 1):
            raise PedigreeError(
                f"{place}: step {step} read the batch {record.get('batch')}, but seed and shards give "
                f"{loader.digest(step - 1)}: trained on other shards or with another seed"
            )
    if "validation_loss" not in records[-1]:
        raise PedigreeError(f"{path}: the last step has no validation_loss; the file was edited, or is of another run")
    return records


def check_weights(
    spec: TrainerSpec,
    summary: Mapping[str, Any],
    records: list[dict[str, Any]],
    heldout: ShardReader,
    checkpoint: Path | None,
) -> list[str]:
    """Compare the weights with the newest checkpoint and the last validation loss; returns lines for the log.

    ``PedigreeError`` for weights that are not those of this run.
    """
    folder, steps = spec.work / FINAL, spec.training.steps
    described, info = read_info(folder)
    model, _ = load_model(folder)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    pairs = {
        "spec": (canonical(described), canonical(spec.model)),
        "vocab_size": (info["vocab_size"], spec.vocab_size),
        "step": (info.get("step"), steps),
        "tokens": (info.get("tokens"), records[-1]["tokens"]),
        f"parameters ({SUMMARY})": (summary["parameters"], parameters),
    }
    for name, (there, wanted) in pairs.items():
        if there != wanted:
            raise PedigreeError(
                f"{folder / 'model.json'}: {name} is {there}, but this run has {wanted}; copy the whole folder of the "
                "run again"
            )
    return [_against_checkpoint(spec, model, checkpoint), _against_loss(spec, model, parameters, records, heldout)]


def _against_checkpoint(spec: TrainerSpec, model: Decoder, newest: Path | None) -> str:
    if newest is None:
        return "no checkpoint was copied back, so the weights are not compared with one"
    if wrong := _damaged(newest, spec):
        raise PedigreeError(f"{newest}: {wrong}; copy it again, or remove the folder {CHECKPOINTS}")
    manifest = read_manifest(newest)
    step = manifest["progress"]["step"]
    if step != spec.training.steps:
        return f"the newest copied checkpoint is of step {step}, so the weights are not compared with it"
    with StoredParts(newest, [part["index"] for part in manifest["parts"]]) as stored:
        for name, tensor in model.state_dict().items():
            full = f"weights/{name}"
            there = stored.rows(full, 0, len(tensor)) if tensor.ndim else stored.scalar(full)
            if not torch.equal(there, tensor):
                raise PedigreeError(
                    f"{spec.work / FINAL}: {name} is not as in {newest}: the weights are not those at the end of "
                    "the run; copy both again"
                )
    return f"the weights are those of the checkpoint of step {step}"


def _damaged(folder: Path, spec: TrainerSpec) -> str | None:
    """What is wrong with a checkpoint: a damaged part, another run, another step. None when nothing is."""
    try:
        content = read_manifest(folder)
    except DamagedFileError as error:
        return str(error)
    owner, mine = content["owner"], json.loads(json.dumps(result_fields(spec)))
    # Another number of ranks may have written the files of its start. The identity covers their content.
    for name in sorted(owner.keys() & mine.keys() - {"start"}):
        if owner[name] != mine[name]:
            return f"the checkpoint is of another run: {name} is {owner[name]!r} there, and {mine[name]!r} in this one"
    if folder.name != checkpoint_name(content["progress"]["step"]) or content["progress"]["step"] > spec.training.steps:
        return f"the checkpoint is of step {content['progress']['step']}"
    return next((text for part in content["parts"] if (text := damage(folder, part["index"], part["sha256"]))), None)


def _against_loss(
    spec: TrainerSpec, model: Decoder, parameters: int, records: list[dict[str, Any]], heldout: ShardReader
) -> str:
    reported, training = records[-1]["validation_loss"], spec.training
    if reported is None:
        return "the run's last validation loss is not finite, so it is not recomputed"
    if 2 * parameters * training.validation_tokens > _FLOPS:
        return "the model is too large to recompute its validation loss here: the run's own value is used"
    alone = World(rank=0, size=1, device=torch.device("cpu"))
    plain = spec.model_copy(update={"training": training.model_copy(update={"precision": "fp32"})})
    here = float(measure(model, heldout, plain, alone).loss)
    if not abs(here - reported) <= (_TOLERANCE_OF_FP32 if training.precision == "fp32" else _TOLERANCE):
        raise PedigreeError(
            f"{spec.work / FINAL}: these weights have a validation loss of {here:.4f}, but {METRICS} has "
            f"{reported:.4f} after the last step: they are not of the same run"
        )
    return f"validation loss: {here:.4f} here, {reported:.4f} there"


def _step_of(records: list[dict[str, Any]], number: int) -> int | None:
    return records[number]["step"] if number < len(records) else None
