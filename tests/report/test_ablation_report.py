import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from llm_core.graph.job import Job
from llm_core.report.ablation_report import build
from llm_core.report.formatting import NONE
from llm_core.report.sections.proxies import ablation_times, ablations
from tests.judged import judged
from tests.report.conftest import TRAINING, ablation_job, artifact, cells, proxy

NAMES = ["baseline", "no_qk_norm", "no_document_mask"]


def read(job: Job, name: str) -> dict:
    return json.loads((job.out / name).read_text())


def test_differences_changes_and_the_best_rate(tmp_path: Path) -> None:
    job = ablation_job(tmp_path)
    stats = build(job, "baseline", NAMES, [9e-3, 1e-3, 3e-3]).model_dump()
    variants = {line["name"]: line for line in read(job, "ablation.json")["variants"]}
    assert list(variants) == NAMES
    assert variants["baseline"]["difference"] == 0
    assert variants["no_qk_norm"]["difference"] == pytest.approx(4.5431 - 4.512)
    assert variants["no_document_mask"]["difference"] == pytest.approx(4.4989 - 4.512)
    assert variants["baseline"]["changes"] == {}
    assert variants["no_qk_norm"]["changes"] == {"mixer.qk_norm": False}
    assert [line["learning_rate"] for line in read(job, "ablation.json")["learning_rates"]] == [1e-3, 3e-3, 9e-3]
    assert stats["best_learning_rate"] == 3e-3
    clock = read(job, "timing.json")["variants"]["no_qk_norm"]
    assert clock["seconds"] == 19.5, "as the manifest has it: with start, validation and checkpoints"
    assert clock["tokens_per_second"] == 262_144 / 18.0
    figures = {path.relative_to(job.out).as_posix() for path in job.out.glob("*/*.png")}
    assert figures == {
        "figures/ablation_loss.png", "figures/ablation_difference.png", "timing/ablation_wall_time.png",
        "timing/ablation_tokens_per_second.png", "timing/ablation_memory.png",
        "figures/ablation_parameters.png", "figures/learning_rates.png",
    }  # fmt: skip
    assert all((job.out / file).is_file() for file in stats["figures"].values())


def test_variants_of_training_tell_what_they_change_and_no_figure_that_follows(tmp_path: Path) -> None:
    job = ablation_job(tmp_path)
    bags = {"superposition": {"tokens": 4, "steps": 9}, "optimizer": {**TRAINING["optimizer"], "kind": "muon"}}
    heads = {"mixer": {"n_heads": 8}}
    other = proxy(tmp_path / "o", "proxy_runs/other", 4.4, {**heads, "layers": [{"index": 0, **heads}]}, training=bags)
    job.inputs["variant/other"] = other  # type: ignore[index]
    build(job, "baseline", ["baseline", "other"], [])
    _, line = read(job, "ablation.json")["variants"]
    assert line["changes"] == {
        "mixer.n_heads": 8,
        "training.optimizer.kind": "muon",
        "training.superposition.steps": 9,
        "training.superposition.tokens": 4,
    }
    build(job, "other", ["baseline", "other"], [])
    line, _ = read(job, "ablation.json")["variants"]
    assert line["changes"]["training.superposition.tokens"] is None


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"mixer": {"kind": "liv", "kernel": 3}}, {"mixer.kernel": 3, "mixer.kind": "liv"}),
        ({"mixer": {"position": {"kind": "nope"}}}, {"mixer.position.kind": "nope"}),
        ({"feed_forward": {"kind": "relu", "d_ff": 900}}, {"feed_forward.d_ff": 900, "feed_forward.kind": "relu"}),
        ({"feed_forward": {"d_ff": 900}, "mixer": {"window": 8}}, {"feed_forward.d_ff": 900, "mixer.window": 8}),
        ({"feed_forward": None}, {"feed_forward.d_ff": None, "feed_forward.kind": None}),
    ],
)
def test_a_component_of_another_kind_is_told_by_its_own_settings(
    tmp_path: Path, changes: dict[str, Any], told: dict[str, Any]
) -> None:
    job = ablation_job(tmp_path)
    job.inputs["variant/other"] = proxy(tmp_path / "o", "proxy_runs/other", 4.4, changes)  # type: ignore[index]
    build(job, "baseline", ["baseline", "other"], [])
    _, line = read(job, "ablation.json")["variants"]
    assert line["changes"] == told


def test_results_hold_no_clock_times(tmp_path: Path) -> None:
    first = ablation_job(tmp_path / "1")
    build(first, "baseline", NAMES, [1e-3])
    second = ablation_job(tmp_path / "2")
    slow = {
        **second.inputs,
        "variant/no_qk_norm": proxy(
            tmp_path / "s", "proxy_runs/no_qk_norm", 4.5431, {"mixer": {"qk_norm": False}}, 99.0
        ),
    }
    build(Job(second.stage, second.identity, slow, second.work, second.out), "baseline", NAMES, [1e-3])
    assert (first.out / "ablation.json").read_bytes() == (second.out / "ablation.json").read_bytes()
    assert (first.out / "timing.json").read_bytes() != (second.out / "timing.json").read_bytes()


def test_a_run_that_diverged_is_reported_and_noticed(tmp_path: Path) -> None:
    job = ablation_job(tmp_path)
    job.inputs["lr/0.009"] = proxy(tmp_path / "x", "lr_sweep/9e_03", None, {})  # type: ignore[index]
    job.inputs["variant/no_qk_norm"] = proxy(
        tmp_path / "y", "proxy_runs/no_qk_norm", None, {"mixer": {"qk_norm": False}}
    )  # type: ignore[index]
    stats = build(job, "baseline", NAMES, [3e-3, 9e-3]).model_dump()
    assert stats["differences"]["no_qk_norm"] is None
    assert stats["best_learning_rate"] == 3e-3
    (check,) = judged("ablation_report", stats)
    assert (check.passed, check.value, check.bound) == (False, 3, 5)


def test_only_a_sweep(tmp_path: Path) -> None:
    job = ablation_job(tmp_path)
    stats = build(job, None, [], [1e-3, 3e-3]).model_dump()
    assert list(stats["figures"]) == ["learning_rates"]
    assert judged("ablation_report", stats)[0].passed


def test_memory_and_how_a_variant_ran_stand_beside_time(tmp_path: Path) -> None:
    job = ablation_job(tmp_path)
    usual = job.inputs["variant/baseline"].manifest.stats | {"compute": {"micro_batch": 8, "compile": False}}
    runs = {
        "baseline": (0, usual),
        "small": (1, usual | {"compute": {"micro_batch": 2, "compile": False}, "peak_memory_bytes": 5_000}),
        "twin": (0, usual),
    }
    for name, (number, stats) in runs.items():
        fields = {"config": job.inputs["variant/baseline"].manifest.config, "identity": f"{number:032x}"}
        job.inputs[f"variant/{name}"] = artifact(tmp_path / name, f"proxy_runs/{name}", stats, **fields)  # type: ignore[index]
    build(job, "baseline", list(runs), [])
    clocks = read(job, "timing.json")["variants"]
    assert [clock["peak_memory_bytes"] for clock in clocks.values()] == [1_234_567_890, 5_000, 1_234_567_890]
    assert [clock["compute"] for clock in clocks.values()] == [{}, {"micro_batch": 2}, {}]
    assert [clock["same_run_as"] for clock in clocks.values()] == [None, None, "baseline"]
    report = replace(job, inputs={"ablation_report": artifact(job.out, "ablation_report", {})})
    assert [row[1] for row in cells(ablations(report))] == [NONE, "compute.micro_batch: 2", "the same run as baseline"]
    assert [row[-1] for row in cells(ablation_times(report))] == ["1.23 GB", "5.00 kB", "1.23 GB"]
    assert "peak_memory_bytes" not in (job.out / "ablation.json").read_text(), "results hold no figures of a machine"
