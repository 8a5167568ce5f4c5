"""Takes a run that was trained from a bundle into the store, after verifying it."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from llm_core.errors import PedigreeError
from llm_core.graph.changes import differences
from llm_core.graph.execute import Circumstances, Outcome, RemoteResult, item_to_build, materialize
from llm_core.graph.identity import Recipe, config
from llm_core.graph.job import Job, Runtime
from llm_core.graph.plan import PlanItem, Planner
from llm_core.graph.stage import Stage
from llm_core.store.manifest import GateRecord, InputRecord, Manifest
from llm_core.train.bundle import stored_inputs, training_stage
from llm_core.train.bundle_manifest import BundleManifest, changed_input, sha256_of, sources_digest
from llm_core.train.data import open_data
from llm_core.train.metrics_log import METRICS, read_metrics
from llm_core.train.results import TrainingResults
from llm_core.train.run_record import RECORD, RunRecord, input_folders, read_record
from llm_core.train.run_verification import check_files, check_metrics, check_summary, check_weights
from llm_core.train.spec import FAILURE, FINAL, SUMMARY
from llm_core.train.training_run import collect, start_parts


def bundled_run(folder: Path, log: Callable[[str], None] = lambda _: None) -> tuple[RunRecord, BundleManifest]:
    """The record of the finished run in ``folder``, and the manifest of its bundle.

    Raises ``PedigreeError`` when the folder contains no run, an unfinished run, or one that was not started from a
    bundle.
    """
    if not folder.is_dir():
        raise PedigreeError(
            f"{folder}: there is no such folder; give the folder run/ of the bundle that you copied back"
        )
    record = read_record(folder)
    if record is None:
        raise PedigreeError(_unfinished(folder))
    if record.spec.bundle is None:
        raise PedigreeError(
            f"{folder / RECORD}: the run was not started from a bundle, so its stage and code are unknown: "
            "write a bundle (pedigree preflight EXPERIMENT --write FOLDER), and train with its run.sh"
        )
    if record.sources != sources_digest(record.spec.bundle.sources):
        raise PedigreeError(f"{folder / RECORD}: the run did not train with the code of its bundle; train it again")
    log(f"{record.spec.bundle.stage} of {record.spec.bundle.experiment}, trained on {record.host}")
    return record, record.spec.bundle


def adopt(planner: Planner, folder: Path, log: Callable[[str], None]) -> Outcome:
    """Take the run in ``folder`` into the store as the stage of its bundle. ``folder`` is not changed.

    Returns a hit when the store already has that artifact. Raises ``PedigreeError`` with the first disagreement: spec,
    identity, code, inputs, files, metrics or weights.
    """
    folder = folder.resolve()
    record, manifest = bundled_run(folder, log)
    stage = training_stage(planner, manifest.stage)
    item = _checked_item(planner, stage, folder, record, manifest)
    if item.artifact is not None:
        weights = record.files.get(f"{FINAL}/model.safetensors")
        equal = weights is not None and sha256_of(item.artifact.path / "model.safetensors") == weights.sha256
        log(f"{stage.name} is already in the store, with {'equal' if equal else 'other'} weights: nothing is copied")

    def take(job: Job) -> TrainingResults:
        return _take(job, stage, folder, record, manifest, log)

    gates = [GateRecord.model_validate(gate) for gate in manifest.gates]
    remote = RemoteResult(folder, take, lambda results: _circumstances(folder, record, manifest, results), gates)
    return materialize(planner, stage.name, Runtime(log=log), item=item, remote=remote)


def _unfinished(folder: Path) -> str:
    metrics = folder / METRICS
    if not metrics.is_file():
        inside = folder / "run"
        hint = f"the run of this bundle is {inside}" if inside.is_dir() else "name the folder run of a bundle"
        return f"{folder}: contains no run (there is no {RECORD} and no {METRICS}): {hint}"
    records = read_metrics(metrics)
    done = records[-1]["step"] if records else 0
    last = folder / FAILURE
    words = f" Its last error: {last.read_text(encoding='utf-8')}" if last.is_file() else ""
    state = f"all steps ({done}), but not the last files" if (folder / SUMMARY).is_file() else f"{done} steps"
    return (
        f"{folder}: the run is not finished: {state} are done. Start run.sh again on that machine: it resumes from its "
        f"newest checkpoint; then copy the run back.{words}"
    )


def _checked_item(
    planner: Planner, stage: Stage, folder: Path, record: RunRecord, manifest: BundleManifest
) -> PlanItem:
    """The plan's item. ``PedigreeError`` unless the run matches its bundle, and the bundle the stage as it is now."""
    spec, path = record.spec, folder / RECORD
    trained = {name: getattr(spec, name) for name in ("model", "training", "vocab_size", "seed")}
    told = config(replace(stage, config={**stage.config, **trained}))
    then = Recipe(stage.kind, manifest.code, manifest.config, {})
    if changed := differences(stage, replace(then, config=told), manifest.contents, _as_stored(stage, manifest)):
        raise PedigreeError(
            f"{path}: spec.json was changed after the bundle was written, so this is not a run of {stage.name}: "
            f"{'; '.join(changed)}. Change the experiment instead, write another bundle, and train with it"
        )
    if then.identity(manifest.contents) != spec.identity:
        raise PedigreeError(f"{path}: its identity does not follow from its recipe: spec.json was edited; train again")
    problem = f"{folder}: this store lacks its current inputs: adopt the run where its bundle was written, or make them"
    inputs = stored_inputs(planner, stage, problem)
    contents = {role: artifact.manifest.content for role, artifact in inputs.items()}
    item = item_to_build(planner, stage.name, built_elsewhere=True)
    if item.identity == spec.identity:
        return item
    changed = differences(stage, planner.recipe(stage.name), contents, _as_stored(stage, manifest))
    commit = (
        f" (commit {manifest.git_commit[:12]}{', with changes' * bool(manifest.git_dirty)})"
        if manifest.git_commit
        else ""
    )
    code_only = all(line.startswith("code ") for line in changed)
    remedy = (
        f"Adopt it with the code that trained it{commit}; `pedigree accept` then accepts it for the current code"
        if code_only
        else "Restore the experiment and its inputs, or train the stage as it is now"
    )
    raise PedigreeError(
        f"{folder}: was trained as {spec.identity}, but {stage.name} of {planner.graph.experiment} is "
        f"now {item.identity}. {remedy}.\n" + "\n".join(changed)
    )


def _as_stored(stage: Stage, manifest: BundleManifest) -> Manifest:
    """The fields that ``differences`` compares, as an artifact's manifest."""
    inputs = [
        InputRecord(role=role, stage=stage.inputs.get(role, role), identity="", content=content)
        for role, content in manifest.contents.items()
    ]
    fields: dict[str, Any] = {"code": manifest.code, "config": manifest.config, "source_digests": {}, "inputs": inputs}
    return Manifest.model_construct(**fields)


def _take(
    job: Job, stage: Stage, folder: Path, record: RunRecord, manifest: BundleManifest, log: Callable[[str], None]
) -> TrainingResults:
    spec = record.spec.model_copy(
        update={
            "shards": job.path("shards"),
            "work": folder,
            "tokenizer": job.path("tokenizer", "tokenizer.json"),
            "start": job.path("start", *start_parts(stage.config)) if "start" in stage.inputs else None,
        }
    )
    checkpoint = check_files(folder, record.files, spec)
    # Another number of ranks may have written the files of a start. The identity covers its content.
    places = {**input_folders(spec), "start": None}
    if wrong := changed_input(manifest, places):
        raise PedigreeError(f"the run was trained on other inputs than those in the store: {wrong}; train it again")
    summary = check_summary(folder / SUMMARY)
    data = open_data(spec, summary["ranks"])
    records = check_metrics(spec, data.train)
    for line in check_weights(spec, summary, records, data.heldout, checkpoint):
        log(line)
    return collect(job, spec, data)


def _circumstances(
    folder: Path, record: RunRecord, manifest: BundleManifest, results: TrainingResults
) -> Circumstances:
    first = read_metrics(folder / METRICS)[0]
    started = datetime.fromtimestamp(first["time"] - first["seconds"], UTC).isoformat(timespec="seconds")
    seconds = round(results.seconds_training, 3)
    return Circumstances(started, seconds, record.versions, manifest.git_commit, manifest.git_dirty, record.host)
