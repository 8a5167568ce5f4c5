from pathlib import Path

import dagster as dg
import pytest

from pipelines.definitions import definitions
from tests.pipelines.conftest import make_world


@pytest.fixture
def loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[dg.Definitions, Path]:
    world = make_world(tmp_path)
    monkeypatch.setenv("PEDIGREE_HOME", str(tmp_path / "home"))
    return definitions(str(world.experiment)), tmp_path / "sources"


def test_jobs_and_schedules_cover_what_they_name(loaded: tuple[dg.Definitions, Path]) -> None:
    defs, _ = loaded
    repository = defs.get_repository_def()
    evals = {key.path[-1] for key in repository.get_job("micro_evals").asset_layer.executable_asset_keys}
    data = {key.path[-1] for key in repository.get_job("micro_data").asset_layer.executable_asset_keys}
    assert evals == {"eval_results", "generation_samples", "training_report", "hf_export"}
    assert data >= {"raw_documents", "token_shards", "data_report"}
    assert "pretrained_model" not in data | evals
    cron = {schedule.name: schedule.cron_schedule for schedule in repository.schedule_defs}
    assert cron == {"micro_nightly_evals": "0 3 * * *", "micro_weekly_data": "0 4 * * 0"}


def test_the_sensor_fires_on_new_source_files_only(loaded: tuple[dg.Definitions, Path]) -> None:
    defs, sources = loaded
    sensor = defs.get_repository_def().get_sensor_def("micro_new_sources")
    context = dg.build_sensor_context()
    first = sensor.evaluate_tick(context)
    assert len(first.run_requests or []) == 1
    context = dg.build_sensor_context(cursor=first.cursor)
    assert sensor.evaluate_tick(context).skip_message == "the sources are as they were"
    (sources / "2.jsonl").write_text((sources / "0.jsonl").read_text())
    assert len(sensor.evaluate_tick(context).run_requests or []) == 1


def test_assets_carry_the_experiment_and_their_checks(loaded: tuple[dg.Definitions, Path]) -> None:
    defs, _ = loaded
    keys = {key.to_user_string() for key in defs.resolve_all_asset_keys()}
    assert {"micro/token_shards", "micro/proxy_runs/baseline"} <= keys
    checks = {key.name for key in defs.resolve_asset_graph().asset_check_keys}
    assert {"drop_share", "no_overlap", "loss_finite", "above_chance"} <= checks


def test_the_nightly_evals_wait_for_a_model_that_is_up_to_date(loaded: tuple[dg.Definitions, Path]) -> None:
    defs, _ = loaded
    schedule = defs.get_repository_def().get_schedule_def("micro_nightly_evals")
    tick = schedule.evaluate_tick(dg.build_schedule_context())
    assert "the model is out of date" in (tick.skip_message or "")
