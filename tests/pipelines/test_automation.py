from pathlib import Path

import dagster as dg
import pytest

from llm_core.graph.plan import PlanItem
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


class Ticks:
    """The sensor of an experiment, tick after tick, and runs of its job that end as they are told to."""

    def __init__(self, defs: dg.Definitions) -> None:
        self._sensor = defs.get_repository_def().get_sensor_def("micro_new_sources")
        self._instance = dg.DagsterInstance.ephemeral()
        self._cursor: str | None = None

    def tick(self) -> dg.RunRequest | str:
        context = dg.build_sensor_context(instance=self._instance, cursor=self._cursor)
        told = self._sensor.evaluate_tick(context)
        self._cursor = told.cursor or self._cursor
        return told.run_requests[0] if told.run_requests else told.skip_message or ""

    def run(self, succeeds: bool) -> None:
        request = self.tick()
        assert isinstance(request, dg.RunRequest)
        assert request.run_key is None

        @dg.op
        def end() -> None:
            assert succeeds

        @dg.job(name="micro_data")
        def stands_in() -> None:
            end()

        stands_in.execute_in_process(instance=self._instance, tags=request.tags, raise_on_error=False)


def test_the_sensor_runs_a_state_again_that_comes_back(loaded: tuple[dg.Definitions, Path]) -> None:
    defs, sources = loaded
    ticks = Ticks(defs)
    ticks.run(succeeds=True)
    assert ticks.tick() == "the sources have not changed"
    (sources / "2.jsonl").write_text((sources / "0.jsonl").read_text())
    ticks.run(succeeds=True)
    (sources / "2.jsonl").unlink()
    ticks.run(succeeds=True)  # nothing of it is in the store, though it was run before
    assert ticks.tick() == "the sources have not changed"


def test_the_sensor_tries_a_failed_run_again_and_not_for_ever(
    loaded: tuple[dg.Definitions, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = Ticks(loaded[0])
    ticks.run(succeeds=False)
    assert "failed; the next try is in 10 min" in str(ticks.tick())
    monkeypatch.setattr("pipelines.automation.RETRY_AFTER", (0.0, 0.0))
    ticks.run(succeeds=False)
    ticks.run(succeeds=False)
    assert "and 2 runs before it failed; look at it" in str(ticks.tick())


def test_the_sensor_names_a_source_that_is_missing(loaded: tuple[dg.Definitions, Path]) -> None:
    defs, sources = loaded
    ticks = Ticks(defs)
    moved = sources.rename(sources.with_name("elsewhere"))
    assert "can't be read: source 'files': no file matches" in str(ticks.tick())
    moved.rename(sources)
    ticks.run(succeeds=True)


def test_the_sensor_starts_nothing_for_what_is_made(
    loaded: tuple[dg.Definitions, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Made:
        def plan(self, only: set[str]) -> list[PlanItem]:
            return [PlanItem(name, "hit", []) for name in only]

    monkeypatch.setattr("pipelines.automation.open_planner", lambda *_: Made())
    ticks = Ticks(loaded[0])
    assert ticks.tick() == "all documents of the sources are processed already"
    assert ticks.tick() == "the sources have not changed"


def test_assets_carry_the_experiment_and_their_checks(loaded: tuple[dg.Definitions, Path]) -> None:
    defs, _ = loaded
    keys = {key.to_user_string() for key in defs.resolve_all_asset_keys()}
    assert {"micro/token_shards", "micro/idea_runs/qk_norm/width_16"} <= keys
    checks = {key.name for key in defs.resolve_asset_graph().asset_check_keys}
    assert {"drop_share", "no_overlap", "loss_finite", "above_chance"} <= checks


def test_the_nightly_evals_wait_for_a_model_that_is_up_to_date(loaded: tuple[dg.Definitions, Path]) -> None:
    defs, _ = loaded
    schedule = defs.get_repository_def().get_schedule_def("micro_nightly_evals")
    tick = schedule.evaluate_tick(dg.build_schedule_context())
    assert "the model is out of date" in (tick.skip_message or "")
