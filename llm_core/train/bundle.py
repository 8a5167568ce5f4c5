"""Writes a bundle: a folder with everything that another machine needs to train one stage.

It contains ``spec.json`` (with a ``BundleManifest``), ``code.zip``, ``requirements.txt``, ``run.sh``, the tokenizer,
and ``fetch.txt``, which lists the large inputs to copy. ``pedigree adopt`` takes the finished run into the store.
"""

import shutil
import tempfile
import zipfile
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from llm_core.errors import PedigreeError
from llm_core.experiment.experiment import Experiment
from llm_core.experiment.tuning import TUNINGS
from llm_core.graph.code_digest import CodeReader
from llm_core.graph.execute import item_to_build, require_gates
from llm_core.graph.gates import records
from llm_core.graph.identity import code
from llm_core.graph.job import Runtime
from llm_core.graph.plan import Planner
from llm_core.graph.provenance import git_state
from llm_core.graph.stage import Stage
from llm_core.loaded_code import PACKAGES, top
from llm_core.plugins import package_folders, plugins_of
from llm_core.store.files import disk_errors
from llm_core.store.home import PROJECT
from llm_core.store.manifest import Artifact
from llm_core.train.bundle_manifest import BundleManifest, FileDigest, file_digests, sha256_of, source_files
from llm_core.train.bundle_scripts import FOLDERS, fetch_text, run_script
from llm_core.train.data import open_data
from llm_core.train.preflight import SHUTDOWN_SECONDS, Preflight, preflight
from llm_core.train.spec import TrainerSpec, derived_digest
from llm_core.train.training_run import start_parts

LARGE = {"shards", "start"}
"""Roles whose files a bundle contains only on request."""

UNREAD = {"manifest.json", "documents.parquet"}
"""Files in the shards' folder that the trainer does not read."""

_TIMES = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class Bundle:
    """A written bundle. ``to_fetch``: folder in the bundle → (source folder here, bytes), for the files to copy."""

    folder: Path
    identity: str
    report: Preflight
    to_fetch: dict[str, tuple[Path, int]]


def stage_experiment(experiment: Experiment, stage: Stage) -> Experiment:
    """An experiment whose full run is ``stage``, for ``preflight``."""
    compute = experiment.compute.changed(stage.compute)
    sections = {"model": stage.config["model"], "training": stage.config["training"], "long_context": None}
    sections |= dict.fromkeys(TUNINGS)
    changes = {**sections, "compute": compute}
    return experiment.model_copy(update={**changes, "name": f"{experiment.name}'s {stage.name}"})


def write_bundle(planner: Planner, experiment: Experiment, name: str, folder: Path, include: bool) -> Bundle:
    """Write the bundle that trains stage ``name`` into the new ``folder``. ``include``: with the large inputs.

    Raises ``PedigreeError`` when the stage is not a training run, when the store lacks its current inputs, when a gate
    of the stage is missing or closed, when it can't run on the experiment's compute target, or when ``folder`` exists.
    """
    if folder.exists():
        raise PedigreeError(f"{folder}: already exists; name a new folder for the bundle")
    stage = training_stage(planner, name)
    report = preflight(stage_experiment(experiment, stage))
    problem = f"a bundle of {stage.name} contains the digests of its inputs, so they must be made first"
    artifacts = stored_inputs(planner, stage, problem)
    _check_undamaged(planner, stage, artifacts)
    files = _input_files(stage, artifacts)
    spec = _spec(planner, experiment, stage, artifacts, files)
    open_data(spec, report.ranks)
    if spec.start is not None:
        from llm_core.train.warm_start import check_start

        check_start(spec)
    assert spec.bundle is not None
    assert spec.identity is not None
    with disk_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        try:
            _write(unfinished, folder.name, spec, planner, stage, report, files, include)
            unfinished.chmod(0o755)
            unfinished.rename(folder)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    sizes = {role: sum(file.size for file in inputs.values()) for role, inputs in spec.bundle.inputs.items()}
    left = (
        {}
        if include
        else {FOLDERS[role]: (_common(files[role]), size) for role, size in sizes.items() if role in LARGE}
    )
    return Bundle(folder, spec.identity, report, left)


def training_stage(planner: Planner, name: str) -> Stage:
    """The training run called ``name``; ``PedigreeError`` with the known names when there is none."""
    graph = planner.graph
    if name not in graph or not graph[name].trains:
        runs = ", ".join(stage.name for stage in graph if stage.trains)
        raise PedigreeError(f"{graph.experiment} has no training run {name!r}; known: {runs}")
    return graph[name]


def stored_inputs(planner: Planner, stage: Stage, problem: str) -> dict[str, Artifact]:
    """Role → artifact. Raises ``PedigreeError`` that begins with ``problem`` when the store lacks a current input."""
    items = {item.stage: item for item in planner.plan(set(stage.inputs.values()))}
    missing = [name for name in dict.fromkeys(stage.inputs.values()) if items[name].artifact is None]
    if missing:
        selected = " ".join(f"--select {name}" for name in missing)
        reasons = "\n".join(f"{name}: {'; '.join(items[name].reasons)}" for name in missing)
        raise PedigreeError(f"{problem}: pedigree run {planner.graph.experiment} {selected}\n{reasons}")
    return {role: artifact for role, name in stage.inputs.items() if (artifact := items[name].artifact)}


def _check_undamaged(planner: Planner, stage: Stage, artifacts: dict[str, Artifact]) -> None:
    """Read all inputs; ``PedigreeError`` for one that is damaged."""
    for role, artifact in artifacts.items():
        wanted = "/".join(start_parts(stage.config)) if role == "start" else ""
        missed = planner.store.damaged_files(artifact, full=True)
        lost = next((problem for path, problem in missed.items() if wanted and path.startswith(f"{wanted}/")), None)
        if damage := planner.store.verifier.damage(artifact, full=True) or lost:
            raise PedigreeError(
                f"{stage.name}: its input {stage.inputs[role]} is damaged: {damage}. Make it again: "
                f"pedigree run {planner.graph.experiment} --force {stage.inputs[role]}"
            )


def _input_files(stage: Stage, artifacts: dict[str, Artifact]) -> dict[str, dict[str, Path]]:
    """Role → file → path, for all files that the trainer reads."""
    shards, tokenizer = artifacts["shards"], artifacts["tokenizer"]
    names = [record.path for record in shards.manifest.files if record.path not in UNREAD]
    found = {
        "shards": {name: shards.path / name for name in names},
        "tokenizer": {"tokenizer.json": tokenizer.path / "tokenizer.json"},
    }
    if "start" in stage.inputs:
        folder = artifacts["start"].path.joinpath(*start_parts(stage.config))
        is_model = (folder / "model.json").is_file()
        names = ["model.json", "model.safetensors"] if is_model else sorted(path.name for path in folder.iterdir())
        found["start"] = {name: folder / name for name in names}
    return found


def _common(files: dict[str, Path]) -> Path:
    """The folder to which these names are relative."""
    name, path = next(iter(files.items()))
    return path.parents[len(Path(name).parts) - 1]


def _spec(
    planner: Planner,
    experiment: Experiment,
    stage: Stage,
    artifacts: dict[str, Artifact],
    files: dict[str, dict[str, Path]],
) -> TrainerSpec:
    """The specification that the trainer would get here."""
    item = item_to_build(planner, stage.name)
    require_gates(planner, item, Runtime())
    gates = records(item.gates, [], datetime.now(UTC).isoformat(timespec="seconds"))
    recipe = planner.recipe(stage.name)
    plugins = (*plugins_of(recipe.code), *experiment.tracking.plugins)
    modules = {name.partition(":")[0] for name in recipe.code if ":" in name}
    packages = sorted({"llm_core", *package_folders(plugins), *map(top, modules)})
    commit, dirty = git_state()
    inputs: dict[str, dict[str, FileDigest]] = {role: file_digests(paths) for role, paths in files.items()}
    return TrainerSpec.of(
        experiment.compute.changed(stage.compute),
        **{name: stage.config[name] for name in ("model", "training", "vocab_size", "seed")},
        shards=artifacts["shards"].path,
        work=Path("run"),
        start=_common(files["start"]) if "start" in files else None,
        tokenizer=files["tokenizer"]["tokenizer.json"],
        name=stage.name,
        identity=item.identity,
        plugins=plugins,
        derived=derived_digest(stage.config["model"], stage.config["training"]),
        tracking=experiment.tracking,
        bundle=BundleManifest(
            experiment=experiment.name,
            stage=stage.name,
            code=recipe.code,
            config=recipe.config,
            contents={role: artifact.manifest.content for role, artifact in artifacts.items()},
            sources={name: sha256_of(path) for name, path in source_files(packages).items()},
            inputs=inputs,
            gates=tuple(gate.model_dump(mode="json") for gate in gates),
            git_commit=commit,
            git_dirty=dirty,
        ),
    )


def _write(
    folder: Path,
    name: str,
    spec: TrainerSpec,
    planner: Planner,
    stage: Stage,
    report: Preflight,
    files: dict[str, dict[str, Path]],
    include: bool,
) -> None:
    manifest = spec.bundle
    assert manifest is not None
    places = {
        "shards": Path(FOLDERS["shards"]),
        "tokenizer": Path(FOLDERS["tokenizer"], "tokenizer.json"),
        "start": spec.start and Path(FOLDERS["start"]),
    }
    spec.model_copy(update=places).write(folder / "spec.json")
    archive = folder / "code.zip"
    _write_archive(archive, manifest)
    _check_archive(archive, planner, stage, spec.plugins)
    included = set(files) if include else set(files) - LARGE
    for role in included:
        for file, path in files[role].items():
            to = folder / FOLDERS[role] / file
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, to)
    constraints = PROJECT / "constraints.txt"
    constrained = constraints.is_file()
    if constrained:
        shutil.copyfile(constraints, folder / constraints.name)
    (folder / "requirements.txt").write_text(requirements(spec, constraints if constrained else None))
    gpus = 0 if report.hardware.startswith("CPU") else report.ranks
    keep, training = spec.keep, spec.training
    kept = keep.last + keep.best + (training.steps // keep.every if keep.every else 0) + len(training.branch_points)
    disk = report.host_snapshot * (kept + 1)  # + 1: the checkpoint that is being written
    script = folder / "run.sh"
    code_digest = sha256_of(archive)
    script.write_text(run_script(manifest, report.ranks, gpus, code_digest, disk, constrained, SHUTDOWN_SECONDS))
    script.chmod(0o755)
    sources = {role: _common(paths) for role, paths in files.items()}
    (folder / "fetch.txt").write_text(fetch_text(manifest, sources, included, name), encoding="utf-8")


def _write_archive(path: Path, manifest: BundleManifest) -> None:
    """Write the code archive. Equal files give equal bytes: fixed order and time, no compression."""
    files = source_files(manifest.packages)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(manifest.sources):
            entry = zipfile.ZipInfo(name, _TIMES)
            entry.external_attr = 0o644 << 16
            entry.create_system = 3
            archive.writestr(entry, files[name].read_bytes())


def _check_archive(path: Path, planner: Planner, stage: Stage, plugins: tuple[str, ...]) -> None:
    """``PedigreeError`` unless the archive contains the code of the identity: files may have been edited meanwhile."""
    with tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(path) as archive:
            archive.extractall(folder)
        packages = (*PACKAGES, *package_folders(plugins))
        if code(stage, CodeReader(Path(folder), packages, plugins=plugins)) != planner.code(stage.name):
            raise PedigreeError(
                f"{PROJECT}: the code changed while the bundle was being written; run the command again"
            )


def requirements(spec: TrainerSpec, constraints: Path | None) -> str:
    """The packages that the trainer imports, pinned as in ``constraints``, or to the versions installed here."""
    names = ["torch", "numpy", "pydantic", "safetensors"]
    names += [package for callback in spec.tracking.callbacks.values() for package in callback.packages]
    names += ["wandb"] if spec.tracking.wandb != "off" else []
    names += ["torchao"] if spec.training.precision == "fp8" else []
    pinned = {} if constraints is None else _pins(constraints.read_text(encoding="utf-8"))
    lines = []
    for name in names:
        try:
            lines.append(f"{name}=={pinned.get(name) or version(name).partition('+')[0]}")
        except PackageNotFoundError:
            raise PedigreeError(f"{name}: no version is pinned or installed here; install it first") from None
    return "\n".join(lines) + "\n"


def _pins(text: str) -> dict[str, str]:
    lines = (line.split("#")[0].strip().partition("==") for line in text.splitlines())
    return {name.lower(): pin for name, _, pin in lines if pin}
