"""Near misses of every rule, and samples of every kind of edit, for the data report."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llm_core.data.clean import LANGUAGE, NORMALISING, REPAIR
from llm_core.data.cleaning_samples import EDITS, NEAR_MISSES, SHOWN
from llm_core.data.quality.judged import RULE as QUALITY
from llm_core.data.results import JudgedDocuments
from llm_core.experiment.cleaning import CleaningSpec, RuleSpec
from llm_core.report import read
from llm_core.report.formatting import exact, in_bytes
from llm_core.report.read import Inputs
from llm_core.store.manifest import Artifact

STAGE, JUDGED, UNIQUE = "clean_documents", "judged_documents", "unique_documents"


def bounds(stage: str, artifact: Artifact, cleaning: CleaningSpec) -> dict[str, RuleSpec]:
    """The bounds of a stage's rules that have bounds, in the order of the rules."""
    if stage == JUDGED:
        return {QUALITY: RuleSpec(min=artifact.results(JudgedDocuments).bound)}
    if stage != STAGE:
        return {}
    language = {} if cleaning.language is None else {LANGUAGE: RuleSpec(min=cleaning.language.min_score)}
    return {**language, **cleaning.rules}


def told_bounds(rule: RuleSpec) -> str:
    """``at least 50``, ``at most 0.3``, ``3 to 10``."""
    if rule.min is not None and rule.max is not None:
        return f"{rule.min:,g} to {rule.max:,g}"
    return f"at least {rule.min:,g}" if rule.min is not None else f"at most {rule.max:,g}"


def near_misses(artifact: Artifact, known: Mapping[str, RuleSpec]) -> dict[str, list[dict[str, Any]]]:
    """Rule of ``known`` → the kept documents whose values are nearest to its bounds, the nearest first.

    A value of 0 with an upper bound of 0 is left out: it is as far from a drop as possible.
    """
    found: dict[str, list[tuple[float, str, dict[str, Any]]]] = {}
    for row in _lines(artifact.path / NEAR_MISSES):
        bound = getattr(known[row["rule"]], row["bound"])
        if bound != 0 or row["value"] != 0:
            shown = {**row, "value": f"{row['value']:.4g}"}
            found.setdefault(row["rule"], []).append((abs(row["value"] - bound), row["doc_id"], shown))
    ordered = {rule: sorted(rows, key=lambda row: row[:2]) for rule, rows in found.items()}
    return {rule: [shown for _, _, shown in rows[:SHOWN]] for rule, rows in ordered.items()}


def edit_samples(inputs: Inputs) -> list[dict[str, Any]]:
    """Per kind of edit: how often it changed something, and some samples, in pieces."""
    samples: dict[str, list[dict[str, Any]]] = {}
    for artifact in (inputs[stage] for stage in (STAGE, UNIQUE) if stage in inputs):
        for row in _lines(artifact.path / EDITS):
            pieces = [{**piece, "text": visible(piece["text"])} for piece in row["pieces"]]
            samples.setdefault(row["kind"], []).append({**row, "pieces": pieces})
    return [
        {"kind": kind.replace("_", " "), "count": count, "places": samples[kind]}
        for kind, count in _edit_counts(inputs)
        if kind in samples
    ]


def _edit_counts(inputs: Inputs) -> list[tuple[str, str]]:
    clean = read.clean(inputs)
    whole = [(NORMALISING, f"{exact(clean.normalising_changed)} documents, in some of them white space alone")]
    if clean.repaired:
        whole.insert(0, (REPAIR, f"{exact(clean.repaired)} documents"))
    redacted = [
        (kind, f"{exact(counts['matches'])} in {exact(counts['documents'])} documents")
        for kind, counts in clean.redactions.items()
    ]
    lines = [
        (kind, f"{exact(counts['lines'])} lines, {in_bytes(counts['bytes'])}") for kind, counts in clean.lines.items()
    ]
    units = read.unique(inputs).repeated_units if UNIQUE in inputs else {"units": 0}
    told = f"{exact(units['units'])} in {exact(units['documents'])} documents" if units["units"] else ""
    return [*whole, *redacted, *lines, *([("repeated_units", told)] if told else [])]


def visible(text: str) -> str:
    """``text`` with invisible characters replaced by their code points."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char in "\n\t" else f"⟨U+{ord(char):04X}⟩" for char in text)


def _lines(path: Path) -> list[dict[str, Any]]:
    # Not splitlines: texts contain other line separators.
    if not path.exists():  # the stage has no edits of this kind
        return []
    return [json.loads(line) for line in path.read_text("utf-8").split("\n") if line]
