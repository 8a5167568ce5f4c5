"""The smaller facts of the data report. What a stage did not do (no suites, no language id) is left out."""

import json
from collections.abc import Mapping
from typing import Any

from llm_core.report.data_collect import RAW, SPLIT, dropping, tokens_by_source, words
from llm_core.report.units import exact, in_bytes, percent, short
from llm_core.store.manifest import Artifact

Inputs = Mapping[str, Artifact]
Facts = list[tuple[str, str]]

LANGUAGES = 12


def tiles(inputs: Inputs) -> list[dict[str, str]]:
    """The figures on top as what, value and more."""
    raw, split = inputs[RAW].stats, inputs[SPLIT].stats
    tokens = sum(row["tokens"] for row in tokens_by_source(inputs))
    found = [
        {
            "what": "Text to train on",
            "value": in_bytes(split["train_bytes"]),
            "more": f"{percent(split['train_bytes'] / raw['bytes'])} of {in_bytes(raw['bytes'])}"
            if raw["bytes"]
            else "",
        },
        {
            "what": "Documents",
            "value": short(split["train_documents"]),
            "more": f"of {exact(raw['documents'])}, {exact(split['heldout_documents'])} more held out",
        },
        {
            "what": "Tokens",
            "value": short(tokens),
            "more": f"{split['train_bytes'] / tokens:.2f} bytes each" if tokens else "",
        },
    ]
    labels = {
        "clean_documents": "Dropped by rules",
        "unique_documents": "Repeats",
        "decontaminated_documents": "Contaminated",
    }
    for stage, artifact in dropping(inputs).items():
        if stage not in labels:
            continue
        dropped, came = artifact.stats["dropped"], artifact.stats["documents_in"]
        share = dropped / came if came else 0.0
        found.append(
            {"what": labels[stage], "value": percent(share), "more": f"{exact(dropped)} of {exact(came)} documents"}
        )
    return found


def bad_records(inputs: Inputs) -> str:
    """What the sources held that can't be documents."""
    raw = inputs[RAW].stats
    reasons = ", ".join(f"{reason} ({exact(count)})" for reason, count in raw["bad_records_by_reason"].items())
    return f"{exact(raw['bad_records'])} bad records were set aside: {reasons}." if raw["bad_records"] else ""


def edits(inputs: Inputs) -> Facts:
    """How often normalising, line rules and redaction changed a text."""
    stats = inputs["clean_documents"].stats
    found = [("Documents that normalising changed", exact(stats["normalising_changed"]))]
    for name, counts in stats.get("edits", {}).items():
        found.append((f"Edited by {words(name)}", f"{exact(counts['lines'])} lines, {in_bytes(counts['bytes'])}"))
    for name, count in stats.get("redactions", {}).items():
        found.append((f"Redacted: {words(name)}", exact(count)))
    return found


def lengths(inputs: Inputs) -> list[tuple[str, Mapping[str, int]]]:
    """(what, log2 of bytes → documents), before and after cleaning."""
    stats = inputs["clean_documents"].stats
    return [("came", stats["lengths_in"]), ("stayed", stats["lengths"])] if "lengths" in stats else []


def languages(inputs: Inputs) -> list[tuple[str, int]]:
    """(language, documents), the most frequent first, the others as one."""
    found = inputs["clean_documents"].stats.get("languages", {})
    ordered = sorted(found.items(), key=lambda item: (-item[1], item[0]))
    rest = sum(count for _, count in ordered[LANGUAGES:])
    return [*ordered[:LANGUAGES], *([("others", rest)] if rest else [])]


def suites(inputs: Inputs) -> list[dict[str, str]]:
    """What decontamination found, suite by suite."""
    artifact = inputs.get("decontaminated_documents")
    if artifact is None:
        return []
    found = json.loads((artifact.path / "suites.json").read_bytes())
    return [
        {
            "name": row["suite"],
            "held": exact(row["items"]),
            "searched": exact(row["items_searched"]),
            "found": exact(row["items_found"]),
            "documents": exact(row["documents"]),
            "size": in_bytes(row["bytes"]),
        }
        for row in found
    ]


def tokenizer(inputs: Inputs) -> Facts:
    """What the tokens are."""
    stats, index = inputs["tokenizer"].stats, json.loads((inputs["token_shards"].path / "shards.json").read_bytes())
    splits = index["splits"]
    return [
        ("Vocabulary", exact(stats["vocab_size"])),
        ("Bytes per token", f"{stats['bytes_per_token']:.3f}"),
        *((f"Tokens, {name}", exact(splits[name]["tokens"])) for name in ("train", "heldout") if name in splits),
        ("Shards", exact(sum(len(split["shards"]) for split in splits.values()))),
        ("Token type", index["dtype"]),
    ]


def vocabularies(inputs: Inputs) -> list[dict[str, Any]]:
    """Every compared vocabulary with its bytes per token, over all and by source; ours first."""
    report = json.loads((inputs["tokenizer"].path / "report.json").read_bytes())
    return [
        {
            "name": row["name"],
            "entries": exact(row["vocab_size"]),
            "all": f"{row['bytes_per_token']:.3f}",
            "by_source": row["by_source"],
        }
        for row in report.get("vocabularies", [])
    ]
