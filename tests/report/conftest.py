"""A whole run as artifacts: small files and real manifests, with a hostile text in every place that people fill."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llm_core.graph.job import Job, Runtime
from llm_core.report.blocks import Section, Table
from llm_core.store.manifest import Artifact, CheckRecord, InputRecord, Manifest
from tests.judged import whole

HOSTILE = "</style><script>alert(1)</script><img src=http://evil.example/x.png onerror=\"x\"> {{ 7*7 }} & 'q'"

MODEL = {
    "d_model": 256,
    "document_mask": True,
    "feed_forward": {"kind": "swiglu", "d_ff": 704},
    "mixer": {"kind": "attention", "n_heads": 4, "qk_norm": True, "position": {"kind": "rope", "theta": 10000.0}},
    "n_layers": 4,
}
TRAINING = {
    "batch_tokens": 8192,
    "optimizer": {"kind": "adamw", "lr": 3e-3, "weight_decay": 0.1},
    "precision": "bf16",
    "schedule": {"kind": "wsd", "warmup_steps": 20, "cooldown_steps": 60},
    "sequence_length": 256,
}


def cells(section: Section | None, caption: str = "") -> list[list[str]]:
    """The texts of the first table of a section, or of the one with ``caption``."""
    assert section is not None
    table = next(block for block in section.blocks if isinstance(block, Table) and block.caption.startswith(caption))
    return [[cell.text for cell in line] for _, line in table.lines()]


def name_digest(name: str) -> str:
    """Different for different names."""
    return name.encode().hex()[::-1][:32].ljust(32, "0")


def artifact(folder: Path, stage: str, stats: dict[str, Any], **fields: Any) -> Artifact:
    folder.mkdir(parents=True, exist_ok=True)
    manifest = Manifest(
        **{
            "kind": stage, "stage": stage, "experiment": "tiny", "identity": name_digest(stage),
            "content": "c" * 32, "code_digest": "c", "code": {}, "config": {}, "source_digests": {}, "inputs": [],
            "files": [], "checks": [CheckRecord(name="not_empty", passed=True, blocking=True, message="all is well")],
            "stats": whole(stage, stats), "started": "2026-01-31T14:05:09+00:00", "seconds": 12.5,
            "versions": {"python": "3.11.9", "torch": "2.13.0"}, "git_commit": "0123456789abcdef", "git_dirty": False,
            "host": "laptop", "device": "cpu", **fields,
        }
    )  # fmt: skip
    return Artifact(folder, manifest)


def steps(count: int = 256, skipped: tuple[int, ...] = (120,)) -> list[dict[str, Any]]:
    rows = []
    for step in range(1, count + 1):
        wave = 0.05 * math.sin(37 * step)
        row: dict[str, Any] = {
            "step": step, "loss": 8.3 * math.exp(-step / 25) + 3.4 - 0.4 * step / count + wave,
            "lr": 3e-3 * min(1, step / 20, (count + 1 - step) / 60), "grad_norm": 0.5 + 4 / step + abs(wave),
            "tokens": 8192 * step, "seconds": 1.1 + wave, "tokens_per_second": 8192 / (1.1 + wave),
            "skipped": step in skipped, "time": 1.77e9 + step,
        }  # fmt: skip
        if step in skipped:
            row |= {"loss": None, "grad_norm": None}
        if step % 32 == 0:
            row["validation_loss"] = row["loss"] + 0.12
        rows.append(row)
    return rows


def run_stats(**changes: Any) -> dict[str, Any]:
    return {
        "parameters": 4_000_512, "ranks": 1, "device": "CPU (x86_64)", "peak_memory_bytes": 1_234_567_890, "steps": 256,
        "tokens": 2_097_152, "first_loss": 8.317, "final_loss": 3.021, "final_validation_loss": 3.144,
        "skipped_steps": 1, "left_out_steps": 0, "tokens_per_second": 7420.0, "seconds_training": 283.0,
        "planned_tokens": 2_097_152, "mfu": None, "packing": "concat",
        "sources": {"train": {"share": 1.0, "sequences": 8192, "tokens_there": 3_349_201, "epochs": 0.6262}},
        **changes,
    }  # fmt: skip


def dropped_by(rules: dict[str, int]) -> dict[str, Any]:
    counts = {rule: {"documents": count, "bytes": 1000 * count} for rule, count in rules.items()}
    return {"dropped_by_rule": rules, "funnel": {"python_docs": {"bytes": 0, "dropped": counts}}}


def story(folder: Path) -> dict[str, Artifact]:
    def make(stage: str, stats: dict[str, Any], **fields: Any) -> Artifact:
        return artifact(folder / stage, stage, stats, **fields)

    inputs = {
        "raw_documents": make("raw_documents", {
            "documents": 18_204, "bytes": 15_998_211, "documents_by_source": {"python_docs": 18_204},
            "bad_records": 3, "bad_records_by_reason": {HOSTILE: 3},
        }),
        "clean_documents": make("clean_documents", {
            "documents": 16_879, "bytes": 14_722_190, "dropped": 1325, "drop_share": 0.0729,
            **dropped_by({"min_words": 801, "symbols_per_word": 402, "stop_words": 122, "bullet_lines": 0}),
        }, inputs=[InputRecord(role="documents", stage="raw_documents", identity="1" * 32, content="2" * 32)]),
        "unique_documents": make("unique_documents", {
            "documents": 15_402, "bytes": 13_310_007, "dropped": 1477,
            **dropped_by({"exact_duplicate": 1477, "near_duplicate": 0}),
        }),
        "pretraining_documents": make("pretraining_documents", {
            "documents": 15_402, "train_documents": 15_090, "train_bytes": 13_043_222, "heldout_documents": 312,
            "heldout_bytes": 266_785,
        }),
        "tokenizer": make("tokenizer", {
            "vocab_size": 4096, "bytes_per_token": 3.912, "heldout_bytes_per_token": 3.874, "unk_rate": 0.0,
            "sample_bytes": 13_043_222, "sample_documents": 15_090,
        }),
        "token_shards": make("token_shards", {
            "train_tokens": 3_349_201, "heldout_tokens": 69_177, "unused_entries": 12, "unused_share": 0.0031,
        }),
        "pretrained_model": make(
            "pretrained_model", run_stats(), config={"model": MODEL, "training": TRAINING}, seconds=300.2
        ),
        "eval_results": make("eval_results", {
            "bits_per_byte": 1.672, "bits_per_byte_stderr": 0.031, "bits_per_byte_interval": [1.611, 1.734],
            "unigram_bits_per_byte": 2.771,
            "xz_bits_per_byte": 2.821, "accuracy": 0.685, "accuracy_stderr": 0.033, "chance": 0.25, "documents": 100,
            "accuracy_interval": [0.617, 0.746], "overlap_accuracy_interval": [0.446, 0.584],
            "overlap_accuracy": 0.515, "overlap_accuracy_stderr": 0.036,
            "questions": 200, "heldout_bytes": 56_464,
            "suites": {"zorro": {"kind": "minimal_pairs", "items": 2000, "accuracy": 0.612,
                                 "accuracy_by_group": {"agreement": 0.587, HOSTILE: 0.637},
                                 "intervals_by_group": {"agreement": [0.556, 0.617], HOSTILE: None}}},
        }, checks=[CheckRecord(name="above_chance", passed=False, blocking=False, message=f"it said {HOSTILE}")]),
        "generation_samples": make("generation_samples", {"samples": 4}),
    }  # fmt: skip
    (folder / "pretrained_model" / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in steps()))
    rows = [
        {
            "task": task,
            "metric": metric,
            "value": value,
            "stderr": stderr,
            "n": n,
            "chance": chance,
            "low": stderr and value - 2 * stderr,
            "high": stderr and value + 2 * stderr,
        }
        for task, metric, value, stderr, n, chance in (
            ("heldout", "bits_per_byte", 1.672, 0.031, 100, None),
            ("baseline_unigram", "bits_per_byte", 2.771, 0.044, 100, None),
            ("baseline_xz", "bits_per_byte", 2.821, None, 100, None),
            ("continuation", "accuracy", 0.685, 0.033, 200, 0.25),
            ("continuation", "accuracy_likelihood", 0.34, 0.034, 200, 0.25),
            ("baseline_overlap", "accuracy", 0.515, 0.036, 200, 0.25),
            ("continuation", "bits_per_byte", 1.702, 0.029, 200, None),
            ("zorro", "accuracy", 0.612, 0.011, 2000, 0.5),
        )
    ]
    (folder / "eval_results" / "evals.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    texts = [
        (" contains all the elements of the given sequence.\n\nParameters\n----------\nx : array_like", 0.3),
        (" holds the values of `obj` as a tuple of strings\u2028 (the default is None).", 0.7),
        (HOSTILE, 1.0),
        (" aught Stream wn ]=( Ham 0 zipimp ünder-* ", 1.5),
    ]
    prompts = ["Return a new list that", "This module provides", "The function raises an error if"]
    samples = [
        {"prompt": prompt, "temperature": temperature, "text": text, "tokens": 80, "seed": 1}
        for prompt in prompts for text, temperature in texts
    ]  # fmt: skip
    (folder / "generation_samples" / "samples.jsonl").write_text(
        "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in samples), encoding="utf-8"
    )
    return inputs


@pytest.fixture(scope="session")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Artifact]:
    return story(tmp_path_factory.mktemp("story"))


@pytest.fixture
def report_job(told: dict[str, Artifact], tmp_path: Path) -> Callable[..., Job]:
    def make(runtime: Runtime | None = None, **changes: Artifact | None) -> Job:
        return job_of({**told, **changes}, tmp_path, runtime)

    return make


def job_of(inputs: dict[str, Artifact | None], work: Path, runtime: Runtime | None = None) -> Job:
    (work / "out").mkdir(exist_ok=True)
    given = {role: item for role, item in inputs.items() if item is not None}
    return Job("training_report", "i", given, work, work / "out", runtime or Runtime())
