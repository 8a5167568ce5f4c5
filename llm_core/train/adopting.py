"""Takes a run that came back from a bare machine into the store, after checking all that it says against each other."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from llm_core.errors import PedigreeError
from llm_core.graph.execute import Circumstances, Elsewhere, Outcome, materialize, ready
from llm_core.graph.identity import Recipe, config
from llm_core.graph.job import Job, Runtime
from llm_core.graph.plan import Planner, differences
from llm_core.graph.stage import Stage
from llm_core.store.manifest import Artifact, InputRecord, Manifest
from llm_core.train.bundle import training_stage
from llm_core.train.bundle_manifest import BundleManifest, changed_input, sha256_of, sources_digest
from llm_core.train.data import open_data
from llm_core.train.metrics_log import METRICS, read_metrics
from llm_core.train.results import TrainingResults
from llm_core.train.run_record import RECORD, RunRecord, input_folders, read_record
from llm_core.train.run_verification import check_files, check_metrics, check_summary, check_weights
from llm_core.train.spec import FAILURE, FINAL, SUMMARY
from llm_core.train.training_run import collect, start_parts


def bundled_run(folder: Path, log: Callable[[str], None] = lambda _: None) -> tuple[RunRecord, BundleManifest]:
    """What the finished run in ``folder`` says of itself, and of the bundle that it was started from.

    Raises ``PedigreeError`` for a folder that holds no run, an unfinished one, or one that was not started from a
    bundle.
    """
    if not folder.is_dir():
        raise PedigreeError(f"{folder}: there is no such folder; name the folder run of a bundle, as it came back")
    record = read_record(folder)
    if record is None:
        raise PedigreeError(_unfinished(folder))
    if record.spec.bundle is None:
        raise PedigreeError(
            f"{folder / RECORD}: the run was not started from a bundle, so it does not say which stage it is and which "
            "code it ran: write a bundle (pedigree preflight EXPERIMENT --write FOLDER), and train with its run.sh"
        )
    if record.sources != sources_digest(record.spec.bundle.sources):
        raise PedigreeError(f"{folder / RECORD}: the code that trained is not that of the bundle; train again with it")
    log(f"{record.spec.bundle.stage} of {record.spec.bundle.experiment}, trained on {record.host}")
    return record, record.spec.bundle


def adopt(planner: Planner, folder: Path, log: Callable[[str], None]) -> Outcome:
    """Take the run in ``folder`` into the store as the stage that its bundle was made for; ``folder`` stays as it is.

    Returns a hit, and takes nothing, where the store has that artifact. Raises ``PedigreeError`` with what does not
    agree: spec, identity, code, inputs, files, metrics or weights.
    """
    folder = folder.resolve()
    record, manifest = bundled_run(folder, log)
    stage = training_stage(planner, manifest.stage)
    _check_recipe(planner, stage, folder, record, manifest)
    item = ready(planner, stage.name)
    if item.artifact is not None:
        weights = record.files.get(f"{FINAL}/model.safetensors")
        equal = weights is not None and sha256_of(item.artifact.path / "model.safetensors") == weights.sha256
        log(f"{stage.name} is in the store already, with {'equal' if equal else 'other'} weights: nothing is taken")

    def take(job: Job) -> TrainingResults:
        return _take(job, stage, folder, record, manifest, log)

    elsewhere = Elsewhere(folder, take, lambda results: _circumstances(folder, record, manifest, results))
    return materialize(planner, stage.name, Runtime(log=log), elsewhere=elsewhere)


def _unfinished(folder: Path) -> str:
    metrics = folder / METRICS
    if not metrics.is_file():
        inside = folder / "run"
        hint = f"the run of this bundle is {inside}" if inside.is_dir() else "name the folder run of a bundle"
        return f"{folder}: holds no run (there is no {RECORD} and no {METRICS}): {hint}"
    records = read_metrics(metrics)
    done = records[-1]["step"] if records else 0
    last = folder / FAILURE
    words = f" Its last words: {last.read_text(encoding='utf-8')}" if last.is_file() else ""
    state = f"all but its last files, after step {done}" if (folder / SUMMARY).is_file() else f"{done} steps"
    return (
        f"{folder}: the run is not finished: {state} are done. Start run.sh again where it was: it goes on from its "
        f"newest checkpoint; then copy it back.{words}"
    )


def _inputs(planner: Planner, stage: Stage, folder: Path) -> dict[str, Artifact]:
    """Role → what the store has; ``PedigreeError`` where it lacks one."""
    items = {item.stage: item for item in planner.plan(set(stage.inputs.values()))}
    missing = [name for name in dict.fromkeys(stage.inputs.values()) if items[name].artifact is None]
    if missing:
        selected = " ".join(f"--select {name}" for name in missing)
        raise PedigreeError(
            f"{folder}: what it was trained on is not in this store as it would be made now ({', '.join(missing)}): "
            f"adopt it where its bundle was written, or make that first: pedigree run {planner.graph.experiment} "
            f"{selected}\n" + "\n".join(f"{name}: {'; '.join(items[name].reasons)}" for name in missing)
        )
    return {role: artifact for role, name in stage.inputs.items() if (artifact := items[name].artifact)}


def _check_recipe(planner: Planner, stage: Stage, folder: Path, record: RunRecord, manifest: BundleManifest) -> None:
    """What was trained must be what the bundle says, and that must be what this stage is here and now."""
    spec, path = record.spec, folder / RECORD
    trained = {name: getattr(spec, name) for name in ("model", "training", "vocab_size", "seed")}
    told = config(replace(stage, config={**stage.config, **trained}))
    then = Recipe(stage.kind, manifest.code, manifest.config, {})
    if changed := differences(stage, replace(then, config=told), manifest.contents, _as_manifest(stage, manifest)):
        raise PedigreeError(
            f"{path}: spec.json was changed after the bundle was made, so this is not the run of {stage.name}: "
            f"{'; '.join(changed)}. Change the experiment instead, make another bundle, and train with that"
        )
    if then.identity(manifest.contents) != spec.identity:
        raise PedigreeError(f"{path}: its identity is not that of its recipe: spec.json was edited; train again")
    contents = {role: artifact.manifest.content for role, artifact in _inputs(planner, stage, folder).items()}
    item = ready(planner, stage.name)
    if item.identity == spec.identity:
        return
    changed = differences(stage, planner.recipe(stage.name), contents, _as_manifest(stage, manifest))
    commit = (
        f" (commit {manifest.git_commit[:12]}{', with changes' * bool(manifest.git_dirty)})"
        if manifest.git_commit
        else ""
    )
    code_only = all(line.startswith("code ") for line in changed)
    remedy = (
        f"Adopt it with the code that it was made with{commit}; `pedigree accept` then lets it serve the code of now"
        if code_only
        else "Put the experiment and its inputs back as they were, or train it as it is now"
    )
    raise PedigreeError(
        f"{folder}: was trained as {spec.identity}, and {stage.name} of {planner.graph.experiment} is "
        f"{item.identity} now. {remedy}.\n" + "\n".join(changed)
    )


def _as_manifest(stage: Stage, manifest: BundleManifest) -> Manifest:
    """The part of a manifest that ``differences`` compares."""
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
    # A start's files may have been written by other ranks since; its content is compared with the identity.
    places = {**input_folders(spec), "start": None}
    if wrong := changed_input(manifest, places):
        raise PedigreeError(f"the run was trained on other inputs than the store has: {wrong}; train it again on these")
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
