"""The model card of an exported folder: what the artifacts in the lineage of a model say about it, in Markdown.

A fact that no artifact has is written as "not recorded".
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePath
from typing import Any

import yaml

from llm_core.evals.scores import interval
from llm_core.experiment.devices import known_device
from llm_core.experiment.experiment import IMPORTED
from llm_core.model.results import ImportedModel
from llm_core.report import facts, read
from llm_core.report.formatting import bounds, duration, exact, in_bytes, percent, share, short, words
from llm_core.report.read import Inputs
from llm_core.report.sections.scores import NAMES
from llm_core.report.sections.suites import METRICS, written
from llm_core.store.manifest import Artifact
from llm_core.train.results import TrainingResults

CARD = "README.md"
"""The name that the Hugging Face Hub shows first."""

MISSING = "not recorded"

Licences = Mapping[tuple[str, str], str | None]
"""(stage, source) → licence; None: it has none today."""
START = "start"
"""The role in which a training run has the model whose weights it goes on with."""

WATTS = {
    "A100 40GB": 400,
    "A100 80GB": 400,
    "L40S": 350,
    "RTX 4090": 450,
    "RTX 5090": 575,
    "H100": 700,
    "H100 NVL": 400,
    "H100 PCIe": 350,
    "H200": 700,
    "H200 NVL": 600,
    "B200": 1000,
}
"""Device → the power limit in its data sheet, in watts; the SXM versions where there are several."""


def model_card(
    name: str,
    trained: Artifact,
    inputs: Inputs,
    evaluated: Artifact | None = None,
    owners: Sequence[str] = (),
    form: str = "transformers",
    began: Inputs | None = None,
    licences: Licences | None = None,
) -> str:
    """The card of ``trained``, a training run or an imported model. ``inputs``: its lineage by stage. ``evaluated``:
    its scores.

    ``form``: what the folder holds (``transformers``, ``gguf`` or ``onnx``).
    ``owners``: the people who answer for the model, as the experiment names them.
    ``began``: the lineage of the model of another experiment from which it started.
    ``licences``: what the experiment says today. A source that it no longer has keeps the licence of the artifact.
    """
    imported = inputs.get(IMPORTED)
    if trained.manifest.kind == IMPORTED:
        found = trained.results(ImportedModel)
        said = f"of {short(found.parameters)} parameters, trained elsewhere, and imported into Pedigree"
        parts = [
            _imported_model(trained, found),
            _first_weights(trained, began or {}),
            _evaluation(evaluated),
            _limits(inputs, evaluated),
        ]
    else:
        runs = _runs(trained, inputs)
        tokens = sum(run.tokens for _, run in runs)
        said = f"of {short(runs[-1][1].parameters)} parameters, trained with Pedigree on {short(tokens)} tokens"
        if len(runs) > 1:
            said += f" ({', then '.join(f'{short(run.tokens)} in {words(one.manifest.stage)}' for one, run in runs)})"
        said += "" if imported is None else ", from weights that were trained elsewhere"
        parts = [
            _model(trained, runs, inputs),
            "" if imported is None else _first_weights(imported, began or {}),
            _data(runs, inputs, licences or {}),
            _left_out(inputs),
            _contamination(inputs),
            _evaluation(evaluated),
            _training(runs, inputs),
            _limits(inputs, evaluated, runs),
        ]
    about = "This page was written from the manifests of the artifacts that the model was made from."
    head = [_front_matter(inputs, form), f"# {name}", f"A language model {said}. {about}"]
    texts = [*head, *parts, _removal(owners, elsewhere=imported is not None, here=trained.manifest.kind != IMPORTED)]
    return "\n\n".join(text for text in texts if text) + "\n"


def _front_matter(inputs: Inputs, form: str) -> str:
    """The metadata that the Hub reads."""
    sources = _sources(inputs)
    found: dict[str, Any] = {"pipeline_tag": "text-generation", "tags": ["pedigree", form]}
    if form == "transformers":
        found["library_name"] = form
    if languages := _languages(inputs):
        found["language"] = languages
    if datasets := sorted({source["repo"] for source in sources.values() if "repo" in source}):
        found["datasets"] = datasets
    if IMPORTED in inputs and (repo := inputs[IMPORTED].results(ImportedModel).origin.get("hugging_face")):
        found["base_model"] = repo
    written_down = yaml.safe_dump(found, sort_keys=True, allow_unicode=True)
    return f"---\n# license: {MISSING}; whoever publishes the model chooses it\n{written_down}---"


def _runs(trained: Artifact, inputs: Inputs) -> list[tuple[Artifact, TrainingResults]]:
    """The training runs that made ``trained``, each the start of the next."""
    found = [(trained, trained.results(TrainingResults))]
    while True:
        starts = [record.stage for record in found[0][0].manifest.inputs if record.role == START]
        before = inputs.get(starts[0]) if starts else None
        if before is None or before.manifest.kind == IMPORTED:
            return found
        found.insert(0, (before, before.results(TrainingResults)))


def _sources(inputs: Inputs) -> dict[tuple[str, str], Mapping[str, Any]]:
    """(stage, source) → its settings, of documents and of conversations."""
    return {
        (artifact.manifest.stage, source["name"]): {"kind": "files", **source}
        for artifact in inputs.values()
        if artifact.manifest.kind in ("raw_documents", "conversations")
        for source in artifact.manifest.config.get("raw", artifact.manifest.config).get("sources", ())
    }


def _source(inputs: Inputs, stage: str, name: str, licences: Licences) -> tuple[str, str]:
    """Where it is from, and its licence."""
    source = _sources(inputs).get((stage, name), {})
    kind = words(source.get("kind", MISSING))
    origin = f"`{source['repo']}` at `{source['revision'][:12]}`" if "repo" in source else kind
    return origin, licences.get((stage, name), source.get("license")) or MISSING


def _languages(inputs: Inputs) -> list[str]:
    """The languages of the documents, the most frequent first, if cleaning found them out."""
    found = read.clean(inputs).languages if read.CLEAN in inputs else {}
    return sorted(found, key=lambda language: -found[language])


def _model(trained: Artifact, runs: Sequence[tuple[Artifact, TrainingResults]], inputs: Inputs) -> str:
    model, training = trained.manifest.config["model"], trained.manifest.config["training"]
    vocabulary = exact(read.shards(inputs).vocab_size) if read.SHARDS in inputs else MISSING
    rows = [
        ("Parameters", exact(runs[-1][1].parameters)),
        *_shape(model),
        ("Vocabulary", vocabulary),
        ("Tokens per sequence in training", exact(training["sequence_length"])),
        ("Training tokens", exact(sum(run.tokens for _, run in runs))),
        ("Identity of the training run", f"`{trained.manifest.identity}`"),
    ]
    return f"## Model\n\n{_table(('', ''), rows)}"


def _imported_model(trained: Artifact, found: ImportedModel) -> str:
    rows = [
        ("Parameters", exact(found.parameters)),
        *_shape(trained.manifest.config["model"]),
        ("Vocabulary", exact(found.vocab_size)),
        ("Tokens of the longest text", MISSING if found.longest is None else exact(found.longest)),
        ("Identity of the import", f"`{trained.manifest.identity}`"),
    ]
    return f"## Model\n\n{_table(('', ''), rows)}"


def _shape(model: Mapping[str, Any]) -> list[tuple[str, str]]:
    layers = model.get("layers") or []
    mixers = ", ".join(dict.fromkeys(layer["mixer"]["kind"] for layer in layers)) or model["mixer"]["kind"]
    return [("Layers × width", f"{model['n_layers']} × {model['d_model']}"), ("Mixers", mixers)]


def _first_weights(imported: Artifact, began: Inputs) -> str:
    """Where the weights came from that were trained elsewhere. Of a folder, only its name: a path is not for others."""
    found = imported.results(ImportedModel)
    origin = found.origin
    if "identity" in origin:
        place = f"`{origin['experiment']}/{origin['stage']}` of this store, `{origin['identity']}`"
    elif "hugging_face" in origin:
        place = f"`{origin['hugging_face']}` at `{origin['revision']}` on the Hugging Face Hub"
    else:
        place = f"a folder, `{PurePath(origin['folder']).name}`"
    sources = _sources(began)
    unknown = "those of its sources, below" if sources else f"{MISSING}; look where they are from"
    rows = [
        ("From", place),
        ("Family", f"`{origin['family']}`" if "family" in origin else MISSING),
        ("Parameters", exact(found.parameters)),
        ("Their tokenizer", "came with them" if found.tokenizer_known else MISSING),
        ("Their licence", unknown),
        ("Their training data", unknown),
        ("Their training", _read_there(began) or MISSING),
        *((f"Digest of `{name}`", f"`{digest}`") for name, digest in sorted(imported.manifest.source_digests.items())),
    ]
    text = f"## The weights that were trained elsewhere\n\n{_table(('', ''), rows)}"
    if sources:
        known = [(name, *_source(began, stage, name, {})) for stage, name in sources]
        text += f"\n\n{_table(('Source of theirs', 'From', 'Licence'), known)}"
    return text


def _read_there(began: Inputs) -> str:
    """The tokens that runs of another experiment read."""
    runs = [artifact for artifact in began.values() if artifact.manifest.kind == "training_run"]
    return ", ".join(f"{exact(run.stats['tokens'])} tokens in {words(run.manifest.stage)}" for run in runs)


def _data(runs: Sequence[tuple[Artifact, TrainingResults]], inputs: Inputs, licences: Licences) -> str:
    documents = _documents(runs[0][1], inputs, licences) if read.RAW in inputs and read.SHARDS in inputs else ""
    talks = [
        (words(artifact.manifest.stage), name, *_source(inputs, artifact.manifest.stage, name, licences), exact(count))
        for artifact in inputs.values()
        if artifact.manifest.kind == "conversations"
        for name, count in artifact.stats["conversations_by_source"].items()
    ]
    tuned = _table(("Stage", "Source", "From", "Licence", "Conversations"), talks) if talks else ""
    told = "\n\n".join(text for text in (documents, tuned) if text)
    return f"## Data\n\n{told or f'{MISSING.capitalize()}.'}"


def _documents(run: TrainingResults, inputs: Inputs, licences: Licences) -> str:
    raw, tokens = read.raw(inputs), facts.tokens_by_source(inputs)
    total = sum(row.tokens for row in tokens)
    kept = {row.source: row for row in tokens}
    rows = []
    for source, documents in raw.documents_by_source.items():
        row = kept.get(source)
        size = in_bytes(raw.bytes_by_source[source])
        in_split = (exact(row.documents), share(row.tokens, total)) if row else ("0", "0%")
        rows.append((source, *_source(inputs, read.RAW, source, licences), f"{exact(documents)} ({size})", *in_split))
    columns = ("Source", "From", "Licence", "Documents read", "In the training split", "Share of its tokens")
    epochs = [
        f"{name}: {percent(found['share'])} of what was read, {found['epochs']:.2f} epochs"
        for name, found in run.sources.items()
        if name in raw.documents_by_source
    ]
    return f"{_table(columns, rows)}\n\n" + (f"Read in training: {'; '.join(epochs)}." if epochs else "")


def _left_out(inputs: Inputs) -> str:
    rows = []
    for stage, artifact in facts.dropping(inputs).items():
        for rule, dropped in facts.drops_by_rule(artifact):
            rows.append((words(stage), words(rule), exact(dropped["documents"]), in_bytes(dropped["bytes"])))
    if not facts.dropping(inputs):
        return f"## Filters\n\n{MISSING.capitalize()}."
    if not rows:
        return "## Filters\n\nNo rule dropped a document."
    read_in = exact(read.raw(inputs).documents)
    columns = ("Stage", "Rule", "Documents dropped", "Text")
    return f"## Filters\n\nOf {read_in} documents that were read, these were left out.\n\n{_table(columns, rows)}"


def _contamination(inputs: Inputs) -> str:
    title = "## Contamination\n\n"
    if read.DECONTAMINATED not in inputs:
        return f"{title}{MISSING.capitalize()}."
    found = read.decontaminated(inputs)
    suites = ", ".join(found.suites)
    if not suites:
        return f"{title}No eval suite was compared with the training text, since the experiment has none."
    dropped = f"{exact(found.dropped)} of {exact(found.documents_in)} ({percent(found.contaminated_share)})"
    return f"{title}Documents that contain items of {suites} were dropped before training: {dropped}."


def _evaluation(evaluated: Artifact | None) -> str:
    if evaluated is None:
        return f"## Evaluation\n\n{MISSING.capitalize()}: this model was not evaluated."
    rows = []
    for line in facts.json_lines(evaluated.path / "evals.jsonl"):
        told, chance = written(line["metric"]), line["chance"]
        task, metric = NAMES.get(line["task"], line["task"]), METRICS.get(line["metric"], line["metric"])
        spread = bounds(interval(line), told)
        rows.append(
            (task, metric, told(line["value"]), spread, "" if chance is None else told(chance), exact(line["n"]))
        )
    return f"## Evaluation\n\n{_table(('Task', 'Metric', 'Value', '95% interval', 'Chance', 'Items'), rows)}"


def _training(runs: Sequence[tuple[Artifact, TrainingResults]], inputs: Inputs) -> str:
    columns = ("Run", "Tokens", "Steps", "Held-out loss", "Hardware", "Time", "Energy, estimated")
    rows = []
    for artifact, run in runs:
        hours = run.ranks * run.seconds_training / 3600
        rows.append((
            words(artifact.manifest.stage), exact(run.tokens), exact(run.steps), _losses(artifact, run),
            f"{run.ranks} × {run.device}", f"{duration(run.seconds_training)} ({hours:.3g} device hours)",
            _energy(run.device, hours),
        ))  # fmt: skip
    newest = runs[-1][0].manifest
    stages = sum(artifact.manifest.seconds for artifact in inputs.values())
    versions = ", ".join(f"{name} {newest.versions[name]}" for name in ("python", "torch") if name in newest.versions)
    others = [
        ("Time of all stages in the lineage", duration(stages)),
        ("Emissions", MISSING),
        ("Software", versions or MISSING),
        ("Commit of the code", f"`{newest.git_commit}`" if newest.git_commit else MISSING),
    ]
    return f"## Training\n\n{_table(columns, rows)}\n\n{_table(('', ''), others)}"


def _losses(artifact: Artifact, run: TrainingResults) -> str:
    """Before and after, and of what: losses of text, of answers and of preferences can't be compared."""
    of = "text"
    if artifact.manifest.stage in read.TUNED:
        of = "preferences (DPO)" if artifact.manifest.config["training"].get("dpo") else "answers"
    values = [value for value in (run.start_validation_loss, run.final_validation_loss) if value is not None]
    return f"{' → '.join(f'{value:.4f}' for value in values)} (of {of})" if values else MISSING


def _energy(device: str, hours: float) -> str:
    known = known_device(device)
    watts = WATTS.get(known.name) if known is not None else None
    if watts is None:
        return f"{MISSING}: the power of this device is not known"
    used = watts * hours / 1000
    return f"{used:.3g} kWh = {watts} W (the device's power limit) × {hours:.3g} h; without the rest of the machine"


def _limits(inputs: Inputs, evaluated: Artifact | None, runs: Sequence[tuple[Artifact, TrainingResults]] = ()) -> str:
    artifacts = [*inputs.values(), *([evaluated] if evaluated is not None else [])]
    failed = [
        f"Check `{check.name}` of {words(artifact.manifest.stage)} failed: {check.message}"
        for artifact in artifacts
        for check in artifact.manifest.checks
        if not check.passed
    ]
    lines = [
        *([] if _languages(inputs) else [f"Languages of the training text: {MISSING}."]),
        *(
            f"{exact(run.skipped_steps)} training steps of {words(one.manifest.stage)} were skipped."
            for one, run in runs
            if run.skipped_steps
        ),
        *failed,
        f"Bias, toxicity and safety: {MISSING}; no stage measures them.",
        f"Intended use: {MISSING}.",
    ]
    return "## Limits\n\n" + "\n".join(f"- {line}" for line in lines)


def _removal(owners: Sequence[str], *, elsewhere: bool, here: bool) -> str:
    """``elsewhere``, ``here``: where the weights were trained."""
    whom = f"write to {', '.join(owners)}" if owners else f"ask the owner of the model (address: {MISSING})"
    texts = [f"To have a text removed from the training data, {whom}."]
    if here:
        texts.append(
            "Give its address or its words. Every document has an id, and `pedigree why -d DOCUMENT` tells the owner "
            "in which training steps it was read. To remove it means to train the model again without it."
        )
    if elsewhere:
        texts.append("It is not known here which texts the weights that were trained elsewhere have read.")
    return f"## Removal of a text\n\n{' '.join(texts)}"


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)
