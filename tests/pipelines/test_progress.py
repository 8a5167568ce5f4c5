import time

import pytest

from llm_core.graph.plan import PlanItem
from pipelines.progress import Lines, RunProgress


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def progress(clock: Clock) -> RunProgress:
    items = [
        PlanItem("tokenizer", "hit", [], seconds=50.0),
        PlanItem("token_shards", "run", [], seconds=20.0),
        PlanItem("pretrained_model", "run", [], seconds=60.0),
    ]
    return RunProgress(items, clock)


def test_the_stage_is_counted_and_the_rest_is_what_it_took_last(clock: Clock) -> None:
    run = progress(clock)
    assert run.begin("tokenizer") == "[1/3] tokenizer"
    assert run.left() == "about 1 min 20 s left in total"
    run.end()
    assert run.begin("token_shards") == "[2/3] token_shards"
    clock.now += 5
    assert run.left() == "about 1 min 15 s left in total"
    assert run.line() == "running, for 5.0 s; about 1 min 15 s left in total"
    run.end()
    assert run.left() == "about 1 min 00 s left in total"


def test_nothing_is_invented_for_a_stage_that_was_never_made(clock: Clock) -> None:
    never = PlanItem("report", "run", [])
    run = RunProgress([never], clock)
    run.begin("report")
    assert run.left() == "time left unknown (1 stage never made before)"
    run = RunProgress([never, PlanItem("shards", "maybe", [], seconds=9.0)], clock)
    assert run.left() == "more than 9.0 s left in total (1 stage never made before)"


def test_a_stage_that_is_slower_than_last_time_has_an_unknown_end(clock: Clock) -> None:
    run = progress(clock)
    run.begin("token_shards")
    clock.now += 21
    assert run.left() == "more than 1 min 00 s left in total (1 stage never made before)"


def test_a_training_run_is_measured_by_its_own_rate_without_its_start(clock: Clock) -> None:
    run = progress(clock)
    run.begin("pretrained_model")
    run.status("starting the trainer")
    clock.now += 30
    assert run.line().startswith("starting the trainer, for 30.0 s; ")
    run.count(41, 100, "steps")  # resumed after 40
    clock.now += 10
    run.observe({"loss": 4.5, "tokens_per_second": 1000.0})
    run.count(51, 100, "steps")
    line = "step 51 of 100, loss 4.500, 1,000 tokens/s, for 40.0 s, 49.0 s left; about 1 min 09 s left in total"
    assert run.line() == line
    run.end()
    run.begin("token_shards")
    assert run.activity() == "running"  # nothing of the stage before


def test_a_count_that_begins_again_is_measured_anew(clock: Clock) -> None:
    run = progress(clock)
    run.begin("token_shards")
    run.count(0, 8, "parts")
    clock.now += 4
    run.count(8, 8, "parts")
    run.count(0, 8, "parts")  # the second map of the stage
    clock.now += 1
    run.count(1, 8, "parts")
    assert run.line() == "1 of 8 parts, for 5.0 s; about 1 min 15 s left in total"


def test_lines_come_when_something_changes_and_now_and_then() -> None:
    said: list[str] = []
    run = progress(Clock())
    run.begin("pretrained_model")
    with Lines(run, said.append, seconds=60.0) as lines:
        for what in ("starting the trainer", "starting the trainer", "the first step", ""):
            lines.status(what)
        lines.observe({"loss": 4.5, "tokens_per_second": 1000.0})
        for step in (1, 2, 3):
            lines.count(step, 100, "steps")
    assert [line.split(",")[0] for line in said] == [
        "pretrained_model: starting the trainer",
        "pretrained_model: the first step",
        "pretrained_model: step 1 of 100",
    ]
    with Lines(run, said.append, seconds=0.02):
        deadline = time.monotonic() + 10
        while len(said) < 5 and time.monotonic() < deadline:
            time.sleep(0.01)
    assert said[-1].startswith("pretrained_model: step 3 of 100, loss 4.500")
