import json
from types import SimpleNamespace

import numpy as np
import pytest

from llm_core.store.manifest import Artifact
from llm_core.study import batch_law
from llm_core.study.study_run import StudyRun
from llm_core.train.metrics_log import METRICS
from tests.study.planted import Study, artifact

SCALE = 50_000.0
"""The planted noise scale, in tokens, at a million tokens."""


def trunk(tokens, role):
    fields = {"width": 64, "seed": 7, "parameters": 1000, "steps": 400, "flops": 1, "rate": 1e-3, "multiple": 1.0}
    return StudyRun(role=role, tokens=tokens, batch=8192, **fields)


def study(tmp_path, runs, micro=True):
    made = Study(tmp_path)
    made.noise()
    rng = np.random.default_rng(1)
    for run in runs:
        folder = tmp_path / run.role
        folder.mkdir()
        noise = SCALE * (run.tokens / 1e6) ** 0.5
        rows = []
        for step in range(400):
            # |G|² = 1, tr Σ = noise; squares of norms of means over batches scatter about their expectations.
            row = {"step": step + 1, "grad_norm": float(np.sqrt((1 + noise / 8192) * rng.gamma(200, 1 / 200)))}
            if micro:
                row["micro_grad_norm"] = float(np.sqrt((1 + noise / 1024) * rng.gamma(200, 1 / 200)))
            rows.append(json.dumps(row))
        (folder / METRICS).write_text("\n".join(rows) + "\n")
        fields = {"compute": {"micro_batch": 2}, "final_validation_bits_per_byte": 1.0, "validation_tokens": 1024}
        results = artifact(fields).results
        made.made[run.role] = Artifact(folder, SimpleNamespace(stage=run.role))
        object.__setattr__(made.made[run.role], "results", results)
    return made


def found(tmp_path, runs, micro=True, batch_runs=()):
    made = study(tmp_path, [*runs, *batch_runs], micro)
    config = {"sequence_length": 512, "tokens": 16_000_000, "batch": 65_536}
    return made.stage("batch_law", batch_law.build, trunks=runs, batch_runs=batch_runs, **config)


def test_the_noise_scale_of_each_trunk_is_found_and_extrapolated(tmp_path):
    results = found(tmp_path, [trunk(1_000_000, "short"), trunk(4_000_000, "long")])
    for row, tokens in zip(results.scales, (1e6, 4e6), strict=True):
        assert row["low"] < SCALE * (tokens / 1e6) ** 0.5 < row["high"]
    assert results.critical_low < SCALE * 4 < results.critical_high
    assert batch_law.batch_below_critical(results, None).passed
    above = results.model_copy(update={"launched": 10**8})
    assert not batch_law.batch_below_critical(above, None).passed


def test_what_larger_batches_cost_is_told_beside_the_noise(tmp_path):
    usual = trunk(1_000_000, "usual")
    larger = usual.model_copy(update={"role": "larger", "batch": 32_768})
    (row,) = found(tmp_path, [trunk(1_000_000, "trunk")], batch_runs=(usual, larger)).checks
    assert row["times"] == 4
    assert row["cost"] == pytest.approx(0)
    assert row["sd"] > 0


def test_runs_of_one_micro_batch_say_nothing_about_the_noise(tmp_path):
    results = found(tmp_path, [trunk(1_000_000, "short")], micro=False)
    assert results.scales[0]["why"] == "its batch was one micro-batch; lower compute.micro_batch"
    assert results.critical is None
    assert "lower compute.micro_batch" in batch_law.batch_below_critical(results, None).message
