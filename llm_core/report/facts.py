"""The numbers of all reports. Each one is computed here and nowhere else, from the results of stages."""

import json
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llm_core.report import read
from llm_core.report.read import Inputs
from llm_core.store.manifest import Artifact
from llm_core.train.results import TrainingResults

STAGES = {
    "clean_documents": "clean",
    "judged_documents": "judged",
    "unique_documents": "unique",
    "decontaminated_documents": "decontaminated",
    "pretraining_documents": "split",
}
"""The stages that drop documents, in order, and what their documents are called."""
SPLITS = {"train": "training split", "heldout": "held-out split"}


def json_lines(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSON-lines file; none if there is no such file."""
    # Not splitlines: it also splits at U+2028 and the like, which JSON does not escape.
    return [json.loads(line) for line in path.read_bytes().split(b"\n") if line] if path.exists() else []


@dataclass(frozen=True)
class Level:
    """What is left after a stage."""

    name: str
    documents: int
    bytes: int


def dropping(inputs: Inputs) -> dict[str, Artifact]:
    """The stages that drop documents, as far as they are among the inputs."""
    return {stage: inputs[stage] for stage in STAGES if stage in inputs}


def flow(artifact: Artifact) -> dict[str, Any]:
    """Source → its documents and bytes through a stage (``FunnelResults.funnel``)."""
    return dict(read.funnel(artifact).funnel)


def drops_by_rule(artifact: Artifact, sources: Collection[str] | None = None) -> list[tuple[str, dict[str, int]]]:
    """(rule, its documents and bytes over all sources, or over ``sources``), most drops first."""
    found: dict[str, Counter[str]] = {}
    for source, counts in flow(artifact).items():
        if sources is None or source in sources:
            for rule, dropped in counts["dropped"].items():
                found.setdefault(rule, Counter()).update(dropped)
    ordered = sorted(found.items(), key=lambda item: (-item[1]["documents"], item[0]))
    return [(rule, dict(counts)) for rule, counts in ordered if counts["documents"]]


def all_drops(inputs: Inputs) -> list[tuple[str, int]]:
    """(rule, documents) of all stages, most drops first."""
    drops = [(rule, counts["documents"]) for item in dropping(inputs).values() for rule, counts in drops_by_rule(item)]
    return sorted(drops, key=lambda row: -row[1])


def levels(inputs: Inputs) -> dict[str, Level]:
    """Stage → what is left after it, from the raw documents on."""
    found = {read.RAW: Level("raw", read.raw(inputs).documents, read.raw(inputs).bytes)}
    for stage, artifact in dropping(inputs).items():
        left = read.left(artifact)
        found[stage] = Level(STAGES[stage], left.documents, left.bytes)
    return found


def splits(inputs: Inputs) -> dict[str, Level]:
    """``train`` and ``heldout`` → the split."""
    split = read.split(inputs)
    return {
        "train": Level(SPLITS["train"], split.train_documents, split.train_bytes),
        "heldout": Level(SPLITS["heldout"], split.heldout_documents, split.heldout_bytes),
    }


def text_by_stage(inputs: Inputs) -> list[tuple[str, dict[str, int]]]:
    """(stage, source → bytes of text)."""
    rows = [("raw", dict(read.raw(inputs).bytes_by_source))]
    for stage, artifact in dropping(inputs).items():
        rows.append((STAGES[stage], {source: item["bytes"] for source, item in flow(artifact).items()}))
    return rows


def unaccounted(inputs: Inputs) -> list[str]:
    """Differences, source by source, between a stage's input and the output of the stage before. Should be empty.

    The shards are compared with the whole splits, without sources.
    """
    before = dict(read.raw(inputs).documents_by_source)
    found = []
    for stage, artifact in dropping(inputs).items():
        for source, counts in flow(artifact).items():
            came = before.pop(source, 0)
            gone = sum(rule["documents"] for rule in counts["dropped"].values())
            if came != counts["documents_in"] or counts["documents_in"] != counts["documents"] + gone:
                seen, stayed = counts["documents_in"], counts["documents"]
                found.append(f"{stage}, {source}: {came} came, {seen} were read, {stayed} stayed, {gone} were dropped")
        found += [f"{stage}, {source}: {count} came, none was read" for source, count in before.items() if count]
        before = {source: counts["documents"] for source, counts in flow(artifact).items()}
    split, sides = read.split(inputs), splits(inputs)
    total = sum(side.documents for side in sides.values())
    if total != split.documents:
        found.append(f"{read.SPLIT}: {split.documents} stayed, {total} are in the splits")
    for name, side in sides.items():
        encoded = _shards(inputs)[name]["documents"]
        if encoded != side.documents:
            found.append(f"{read.SHARDS}, {name}: {side.documents} came, {encoded} are in the shards")
    return found


def _shards(inputs: Inputs) -> dict[str, Any]:
    """Split → its documents, tokens and shards."""
    index = json.loads((inputs[read.SHARDS].path / "shards.json").read_bytes())
    return dict(index["splits"])


@dataclass(frozen=True)
class SourceTokens:
    """The tokens and documents of a source in the training split."""

    source: str
    tokens: int
    documents: int


def tokens_by_source(inputs: Inputs) -> list[SourceTokens]:
    """The sources of the training split, the largest first."""
    totals: dict[str, Counter[str]] = {}
    for shard in _shards(inputs)["train"]["shards"]:
        totals.setdefault(shard["source"], Counter()).update(tokens=shard["tokens"], documents=shard["documents"])
    rows = [SourceTokens(source, counts["tokens"], counts["documents"]) for source, counts in totals.items()]
    return sorted(rows, key=lambda row: (-row.tokens, row.source))


def vocabularies(inputs: Inputs) -> list[dict[str, Any]]:
    """The compared vocabularies with their bytes per token, in all and by source; ours first."""
    report = json.loads((inputs[read.TOKENIZER].path / "report.json").read_bytes())
    return list(report.get("vocabularies", []))


def headline(inputs: Inputs, price_per_gpu_hour: float) -> dict[str, Any]:
    """The fields of ``TrainingReport`` without its page."""
    scores = read.evaluated(inputs)
    return {
        "bits_per_byte": scores.bits_per_byte,
        "bits_per_byte_interval": scores.bits_per_byte_interval,
        "unigram_bits_per_byte": scores.unigram_bits_per_byte,
        "xz_bits_per_byte": scores.xz_bits_per_byte,
        "below_unigram": 1 - scores.bits_per_byte / scores.unigram_bits_per_byte,
        "accuracy": scores.accuracy,
        "accuracy_interval": scores.accuracy_interval,
        "overlap_accuracy": scores.overlap_accuracy,
        "overlap_accuracy_interval": scores.overlap_accuracy_interval,
        "chance": scores.chance,
        "seconds_total": sum(seconds for _, seconds in stage_seconds(inputs)),
        **(_of_run(read.trained(inputs), price_per_gpu_hour) if read.TRAINED in inputs else _of_import(inputs)),
    }


def _of_run(run: TrainingResults, price_per_gpu_hour: float) -> dict[str, Any]:
    on_gpu = not str(run.device).startswith("CPU")
    gpu_hours = run.ranks * run.seconds_training / 3600 if on_gpu else None
    return {
        "parameters": run.parameters,
        "tokens": run.tokens,
        "final_validation_loss": run.final_validation_loss,
        "seconds_training": run.seconds_training,
        "gpu_hours": gpu_hours,
        "cost_dollars": gpu_hours * price_per_gpu_hour if gpu_hours and price_per_gpu_hour else None,
    }


def _of_import(inputs: Inputs) -> dict[str, Any]:
    """Of a model that was trained elsewhere, and is only tuned here."""
    imported = read.imported(inputs)
    assert imported is not None
    unknown = ("tokens", "final_validation_loss", "seconds_training", "gpu_hours", "cost_dollars")
    return {"parameters": imported.parameters, **dict.fromkeys(unknown)}


def stage_seconds(inputs: Inputs) -> list[tuple[str, float]]:
    """(stage, seconds of its build), in the order of the graph, with all runs of the study as one row."""
    rows = [(artifact.manifest.stage, artifact.manifest.seconds) for artifact in inputs.values()]
    spent = read.study_cost(inputs)
    return rows if spent is None else [*rows, ("runs of the study", 3600 * sum(spent.hours.values()))]


def continued(inputs: Inputs) -> Iterator[tuple[str, Artifact]]:
    """(role, run) of the runs that continue the full run on the same text."""
    for role, artifact in inputs.items():
        if role not in (read.TRAINED, *read.TUNED) and artifact.stats.get("start_validation_loss") is not None:
            yield role, artifact
