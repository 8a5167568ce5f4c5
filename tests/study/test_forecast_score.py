from types import SimpleNamespace

import numpy as np
import pytest

from llm_core.errors import PedigreeError
from llm_core.study import forecast_score
from tests.study.planted import Study, artifact
from tests.study.planted import scored as evaluation


def scored(tmp_path, loss, gates):
    study = Study(tmp_path)
    gate = study.gate()
    run = artifact({"final_validation_bits_per_byte": loss})
    record = SimpleNamespace(stage="launch_gate", results=gate.model_dump(mode="json"), made="2026-11-29T10:00:00Z")
    run.manifest.gates, run.manifest.stage = [record] if gates else [], "pretrained_model"
    study.made["pretrained_model"] = run
    study.made["eval_results"] = evaluation(tmp_path / "eval_results", loss or 1.0, np.random.default_rng(1))
    return gate, study.stage("forecast_score", forecast_score.build, gate="launch_gate")


def test_the_forecast_of_the_launch_is_scored(tmp_path):
    gate, score = scored(tmp_path, 1.0, gates=True)
    assert (score.forecast, score.low, score.high) == (gate.forecast, gate.low, gate.high)
    assert score.error == pytest.approx(1.0 / gate.forecast - 1)
    assert score.within == (gate.low <= 1.0 <= gate.high)
    far = score.model_copy(update={"within": False, "loss": 2.0})
    assert "2.0000 bits per byte; forecast" in forecast_score.within_interval(far, None).message
    assert not forecast_score.within_interval(far, None).passed


def test_the_scores_on_suites_are_scored(tmp_path):
    _, score = scored(tmp_path, 0.82, gates=True)
    rows = {(row["task"], row["metric"]): row for row in score.suites}
    assert set(rows) == {("clear", "accuracy"), ("clear", "bits_per_byte"), ("blind", "bits_per_byte")}
    assert all(row["within"] == (row["low"] <= row["value"] <= row["high"]) for row in rows.values())
    assert forecast_score.suites_within_intervals(score, None).passed
    _, far = scored(tmp_path, 1.2, gates=True)
    verdict = forecast_score.suites_within_intervals(far, None)
    assert not verdict.passed
    assert verdict.message.startswith("0 of 3 suite scores lie within their intervals; outside: clear (")


def test_a_run_without_a_forecast_or_a_loss_is_not_scored(tmp_path):
    with pytest.raises(PedigreeError, match="was launched without a forecast"):
        scored(tmp_path, 1.0, gates=False)
    with pytest.raises(PedigreeError, match="no finite held-out loss"):
        scored(tmp_path, None, gates=True)
