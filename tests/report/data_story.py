"""The data stages of a run as artifacts: small files in the layout that the stages write, with hostile texts."""

import json
from pathlib import Path
from typing import Any

import polars as pl

from llm_core.data.cleaning_samples import EDITS, NEAR_MISSES
from llm_core.data.parquet_parts import DOCUMENT, write_part
from llm_core.experiment.cleaning import CleaningSpec, RuleSpec
from llm_core.store.manifest import Artifact
from tests.report.conftest import HOSTILE, artifact

SCHEMA = {**DOCUMENT, "rule": pl.String, "value": pl.Float64}
CLEANING = CleaningSpec(
    redactions=("emails",),
    rules={
        "min_words": RuleSpec(min=3), "mean_word_length": RuleSpec(min=3, max=10), "line_words": RuleSpec(min=3),
        "curly_brackets": RuleSpec(max=0),
    },
)  # fmt: skip
LONG = "A river runs past the old mill, and nobody has seen the miller for years. " * 30


def documents(source: str, count: int, start: int = 0, **more: Any) -> list[dict[str, Any]]:
    return [
        {
            "doc_id": f"{source}{number:04d}".encode().hex()[-32:].rjust(32, "0"),
            "text": f"{source} {number}: {LONG if number % 3 else HOSTILE}",
            "source": source, "origin": f"{source}.jsonl.zst", "row": number, "url": None, **more,
        }
        for number in range(start, start + count)
    ]  # fmt: skip


def part(path: Path, rows: list[dict[str, Any]], **more: Any) -> None:
    schema = {**DOCUMENT, **more}
    write_part(path, pl.DataFrame([{name: row.get(name) for name in schema} for row in rows], schema=schema))


def counted(came: int, dropped: dict[str, int], size: int = 1000) -> dict[str, Any]:
    gone = {rule: {"documents": count, "bytes": count * size} for rule, count in dropped.items()}
    left = came - sum(dropped.values())
    return {
        "documents_in": came, "bytes_in": came * size, "documents": left, "bytes": left * size, "dropped": gone,
    }  # fmt: skip


def funnel_stats(**sources: dict[str, Any]) -> dict[str, Any]:
    def total(field: str) -> int:
        return sum(counts[field] for counts in sources.values())

    return {
        **{field: total(field) for field in ("documents_in", "bytes_in", "documents", "bytes")},
        "dropped": total("documents_in") - total("documents"),
        "funnel": sources,
    }


def samples(clean: Path, doc_ids: list[str]) -> None:
    """Edits and near misses of the cleaning."""
    pieces = [("…ask ", ""), (HOSTILE, "del"), ("email@example.com", "ins"), (f" or {HOSTILE}", "")]
    edits = [("emails", pieces), ("line_words", [("before\n", ""), ("</del>\u200b short", "del"), ("\nafter", "")])]
    near = [("min_words", "min", 3.0 + number) for number in range(10)]
    near += [("mean_word_length", "min", 3.5), ("mean_word_length", "max", 9.75), ("curly_brackets", "max", 0.0)]
    lines = {
        EDITS: [
            {"kind": kind, "doc_id": doc_ids[0], "source": "web",
             "pieces": [{"text": text, "change": change} for text, change in pieces]}
            for kind, pieces in edits
        ],
        NEAR_MISSES: [
            {"rule": rule, "bound": bound, "value": value, "doc_id": doc_ids[place], "source": HOSTILE,
             "excerpt": HOSTILE}
            for place, (rule, bound, value) in enumerate(near)
        ],
    }  # fmt: skip
    for name, rows in lines.items():
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (clean / name).write_text(text, encoding="utf-8")


def story(folder: Path) -> dict[str, Artifact]:
    rules, value = {"rule": pl.String, "value": pl.Float64}, 0.123456
    web, gov = documents("web", 30), documents("gov", 10)
    clean, unique, bare = (
        folder / name for name in ("clean_documents", "unique_documents", "decontaminated_documents")
    )
    part(
        clean / "dropped" / "web-0.parquet", [{**row, "rule": "min_words", "value": value} for row in web[:5]], **rules
    )
    part(clean / "dropped" / "gov-0.parquet", [{**row, "rule": HOSTILE, "value": 2.0} for row in gov[:2]], **rules)
    samples(clean, [row["doc_id"] for row in web[5:]])
    repeats = [
        {**row, "text": row["text"].replace("old mill", "new mill"), "rule": "near_duplicate", "value": 0.9,
         "kept_doc_id": web[10]["doc_id"]}
        for row in web[5:8]
    ]  # fmt: skip
    part(unique / "parts" / "web-0.parquet", web[8:])
    part(unique / "dropped" / "web-0.parquet", repeats, kept_doc_id=pl.String, **rules)
    cluster = [
        {"cluster": 0, "doc_id": row["doc_id"], "source": "web", "kept": not place, "size": 4,
         "similarity": 0.9 if place else 1.0, "rule": "near_duplicate" if place else None}
        for place, row in enumerate([web[10], *repeats])
    ]  # fmt: skip
    pl.DataFrame(cluster).write_parquet(unique / "clusters.parquet")
    spoilt = [{**web[8], "rule": "contaminated", "value": 0.8, "suite": "zorro", "item": "17"}]
    part(bare / "dropped" / "web-0.parquet", spoilt, suite=pl.String, item=pl.String, **rules)
    part(folder / "pretraining_documents" / "train" / "web-0.parquet", web[9:])
    part(folder / "pretraining_documents" / "train" / "gov-0.parquet", gov[2:])
    shards = {
        "dtype": "uint16",
        "splits": {
            "train": {"tokens": 9000, "documents": 28, "shards": [
                {"file": "train/gov-0.bin", "tokens": 2000, "documents": 8, "source": "gov"},
                {"file": "train/web-0.bin", "tokens": 7000, "documents": 20, "source": "web"},
            ]},
            "heldout": {"tokens": 300, "documents": 1, "shards": [
                {"file": "heldout/web-0.bin", "tokens": 300, "documents": 1, "source": "web"}
            ]},
        },
    }  # fmt: skip
    (folder / "token_shards").mkdir()
    (folder / "token_shards" / "shards.json").write_text(json.dumps(shards))
    vocabularies = [
        {"name": "this one", "vocab_size": 4096, "bytes_per_token": 3.9, "by_source": {"gov": 3.8, "web": 4.0}},
        {"name": HOSTILE, "vocab_size": 100_277, "bytes_per_token": 4.6, "by_source": {"gov": 4.5, "web": 4.7}},
    ]
    (folder / "tokenizer").mkdir()
    (folder / "tokenizer" / "report.json").write_text(json.dumps({"vocabularies": vocabularies}))

    stats = {
        "raw_documents": {
            "documents": 40, "bytes": 41_000, "documents_by_source": {"gov": 10, "web": 30},
            "bytes_by_source": {"gov": 10_000, "web": 31_000}, "bad_records": 2, "bad_records_by_reason": {HOSTILE: 2},
        },
        "clean_documents": {
            **funnel_stats(gov=counted(10, {HOSTILE: 2}), web=counted(30, {"min_words": 5})),
            "normalising_changed": 12, "repaired": 0,
            "removed_bytes": {"normalising": -3, "redactions": 40, "lines": 1000},
            "lines": {"line_words": {"lines": 40, "bytes": 1000}},
            "redactions": {"emails": {"matches": 3, "documents": 2}},
            "lengths": {"9": 15, "10": 18}, "languages": {"en": 33, "de": 1},
        },
        "unique_documents": {
            **funnel_stats(gov=counted(8, {}), web=counted(25, {"near_duplicate": 3})),
            "clusters": 1, "clusters_across_sources": 0,
            "repeated_units": {"documents": 4, "units": 9, "bytes": 700},
        },
        "decontaminated_documents": {
            **funnel_stats(gov=counted(8, {}), web=counted(22, {"contaminated": 1})),
            "suites": {"zorro": {"suite": "zorro", "items": 46_000, "texts": 92_000, "items_too_short": 40_000,
                                 "recall": {"answered": {"planted": 400, "found": 380}},
                                 "items_held": 1, "documents": 1, "bytes": 1000}},
        },
        "pretraining_documents": {
            **funnel_stats(gov=counted(8, {}), web=counted(21, {})),
            "train_documents": 28, "train_bytes": 28_000, "heldout_documents": 1, "heldout_bytes": 1000,
        },
        "tokenizer": {"vocab_size": 4096, "bytes_per_token": 3.9},
        "token_shards": {"train_tokens": 9000},
    }  # fmt: skip
    return {stage: artifact(folder / stage, stage, found) for stage, found in stats.items()}
