"""The smaller facts of the data report. Facts about unused features (no suites, no language id) are left out."""

import json
from collections.abc import Mapping
from typing import Any

from llm_core.report import read
from llm_core.report.data_collect import SOURCES, dropping, tokens_by_source, words
from llm_core.report.formatting import exact, in_bytes, percent, short
from llm_core.report.read import Inputs

Facts = list[tuple[str, str]]

LANGUAGES = 7


def tiles(inputs: Inputs) -> list[dict[str, str]]:
    """The headline numbers as ``what``, ``value`` and ``more``."""
    raw, split = read.raw(inputs), read.split(inputs)
    tokens = sum(row["tokens"] for row in tokens_by_source(inputs))
    found = [
        {
            "what": "Text to train on",
            "value": in_bytes(split.train_bytes),
            "more": f"{percent(split.train_bytes / raw.bytes)} of {in_bytes(raw.bytes)}" if raw.bytes else "",
        },
        {
            "what": "Documents",
            "value": short(split.train_documents),
            "more": f"of {exact(raw.documents)}, {exact(split.heldout_documents)} more held out",
        },
        {
            "what": "Tokens",
            "value": short(tokens),
            "more": f"{split.train_bytes / tokens:.2f} bytes each" if tokens else "",
        },
    ]
    labels = {
        "clean_documents": "Dropped by rules",
        "judged_documents": "Of low quality",
        "unique_documents": "Repeats",
        "decontaminated_documents": "Contaminated",
    }
    for stage, artifact in dropping(inputs).items():
        if stage not in labels:
            continue
        dropped, came = read.funnel(artifact).dropped, read.funnel(artifact).documents_in
        share = dropped / came if came else 0.0
        found.append(
            {"what": labels[stage], "value": percent(share), "more": f"{exact(dropped)} of {exact(came)} documents"}
        )
    return found


def bad_records(inputs: Inputs) -> str:
    """The records that could not become documents."""
    raw = read.raw(inputs)
    reasons = ", ".join(f"{reason} ({exact(count)})" for reason, count in raw.bad_records_by_reason.items())
    return f"{exact(raw.bad_records)} bad records were set aside: {reasons}." if raw.bad_records else ""


def edits(inputs: Inputs) -> Facts:
    """Documents that cleaning changed, the text that it removed, and units that repeat across documents."""
    clean = read.clean(inputs)
    found = [("Documents that normalising changed", exact(clean.normalising_changed))]
    if clean.repaired:
        found.insert(0, ("Documents repaired", exact(clean.repaired)))
    found += [(f"Taken out by {words(name)}", in_bytes(size)) for name, size in clean.removed_bytes.items() if size > 0]
    found += [
        (f"Redacted {words(name)}", f"{exact(counts['matches'])} in {exact(counts['documents'])} documents")
        for name, counts in clean.redactions.items()
    ]
    found += [
        (f"Lines out by {words(name).removeprefix('line ')}", f"{exact(counts['lines'])}, {in_bytes(counts['bytes'])}")
        for name, counts in clean.lines.items()
    ]
    repeats = read.unique(inputs).repeated_units if "unique_documents" in inputs else {"units": 0}
    if repeats["units"]:
        told = f"{exact(repeats['units'])} in {exact(repeats['documents'])} documents, {in_bytes(repeats['bytes'])}"
        found.append(("Repeated lines or paragraphs out", told))
    return found


def quality(inputs: Inputs) -> Facts:
    """The training data of the quality classifier, and its accuracy on held-out texts."""
    if "quality_classifier" not in inputs:
        return []
    learned = read.quality(inputs)
    return [
        *((f"Examples, {side}", exact(count)) for side, count in learned.examples.items()),
        ("AUC on held-out examples", f"{learned.auc:.3f}"),
        ("Accuracy, at a score of 0.5", percent(learned.accuracy)),
        ("Good examples that reach the bound", percent(learned.kept_of_good)),
    ]


def lengths(inputs: Inputs) -> list[tuple[str, Mapping[str, int]]]:
    """(stage, log2 of bytes → documents) after cleaning."""
    found = read.clean(inputs).lengths
    return [("clean documents", found)] if found else []


def languages(inputs: Inputs) -> list[tuple[str, int]]:
    """(language, documents), the most frequent first, rare ones as one row."""
    found = read.clean(inputs).languages
    ordered = sorted(found.items(), key=lambda item: (-item[1], item[0]))
    rest = sum(count for _, count in ordered[LANGUAGES:])
    return [*ordered[:LANGUAGES], *([("others", rest)] if rest else [])]


def suites(inputs: Inputs) -> list[dict[str, str]]:
    """The findings of decontamination per suite."""
    found = read.decontaminated(inputs).suites if "decontaminated_documents" in inputs else {}
    return [
        {
            "name": name,
            "held": exact(row["items"]),
            "texts": exact(row["texts"]),
            "short": exact(row["items_too_short"]),
            "found": exact(row["items_held"]),
            "recall": ", ".join(
                f"{name} {percent(told['found'] / told['planted'])}" for name, told in row["recall"].items()
            ),
            "documents": exact(row["documents"]),
            "size": in_bytes(row["bytes"]),
        }
        for name, row in found.items()
    ]


def tokenizer(inputs: Inputs) -> Facts:
    """The tokenizer section."""
    fitted, index = read.tokenizer(inputs), json.loads((inputs["token_shards"].path / "shards.json").read_bytes())
    splits = index["splits"]
    return [
        ("Vocabulary", exact(fitted.vocab_size)),
        ("Bytes per token", f"{fitted.bytes_per_token:.3f}"),
        *((f"Tokens, {name}", exact(splits[name]["tokens"])) for name in ("train", "heldout") if name in splits),
        ("Shards", exact(sum(len(split["shards"]) for split in splits.values()))),
        ("Token type", index["dtype"]),
    ]


def vocabularies(inputs: Inputs) -> list[dict[str, Any]]:
    """Every compared vocabulary with its bytes per token, overall and by source; ours first.

    ``columns``: (source, bytes per token) of the largest sources, as many as fit on the page.
    """
    largest = {row["source"] for row in tokens_by_source(inputs)[:SOURCES]}
    report = json.loads((inputs["tokenizer"].path / "report.json").read_bytes())
    return [
        {
            "name": row["name"],
            "entries": exact(row["vocab_size"]),
            "all": f"{row['bytes_per_token']:.3f}",
            "by_source": row["by_source"],
            "columns": [(source, value) for source, value in row["by_source"].items() if source in largest],
        }
        for row in report.get("vocabularies", [])
    ]
