import json
import math
from itertools import pairwise

import pytest
from pydantic import ValidationError

from llm_core.experiment.base import canonical
from llm_core.experiment.component import KindOf, over
from llm_core.experiment.continuation import BranchSpec
from llm_core.experiment.optimization import ScheduleSpec
from llm_core.experiment.training import TrainingSpec
from llm_core.registries import SCHEDULES
from tests.train.runs import training_spec

STEPS = 100


def shares(**fields) -> list[float]:
    schedule = KindOf(SCHEDULES).made(fields)
    assert isinstance(schedule, ScheduleSpec)
    return [schedule.share(step, STEPS) for step in range(STEPS)]


@pytest.mark.parametrize("kind", sorted(SCHEDULES))
def test_warm_up_is_linear_and_ends_at_the_full_rate(kind):
    values = shares(kind=kind, warmup_steps=10)
    assert values[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert all(0 < value <= 1 for value in values)


@pytest.mark.parametrize("kind", sorted(SCHEDULES))
def test_warm_up_may_fill_the_whole_run(kind):
    assert shares(kind=kind, warmup_steps=STEPS)[-1] == 1.0


def test_constant_stays():
    assert set(shares(kind="constant")) == {1.0}


def test_cosine_falls_to_its_end_by_half_a_cosine():
    values = shares(kind="cosine", warmup_steps=20, final_share=0.2)
    assert values[19] == 1.0
    assert values[20 + 26] == pytest.approx(0.2 + 0.8 * (1 + math.cos(math.pi * 27 / 81)) / 2)
    assert 0.2 < values[-1] < 0.202
    assert all(after < before for before, after in pairwise(values[19:]))


def test_linear_falls_straight_to_its_end():
    values = shares(kind="linear", warmup_steps=20, final_share=0.2)
    assert values[19:22] == pytest.approx([1, 1 - 0.8 / 81, 1 - 1.6 / 81])
    assert values[-1] == pytest.approx(0.2 + 0.8 / 81)


def test_wsd_is_stable_then_falls_as_one_minus_the_root():
    values = shares(kind="wsd", warmup_steps=10, cooldown_steps=20, final_share=0.0)
    assert set(values[9:80]) == {1.0}
    assert values[84] == pytest.approx(1 - math.sqrt(5 / 21))
    assert values[-1] == pytest.approx(1 - math.sqrt(20 / 21))
    assert all(after < before for before, after in pairwise(values[79:]))


@pytest.mark.parametrize("kind", ["cosine", "linear", "wsd"])
@pytest.mark.parametrize("length", [1, 2, 90])
def test_no_step_has_a_rate_of_zero(kind, length):
    falls = {"cooldown_steps": length} if kind == "wsd" else {"warmup_steps": STEPS - length}
    values = shares(kind=kind, **falls, final_share=0.0)
    assert 0 < values[-1] < values[-1 - length] == 1.0


def test_wsd_without_cooldown_is_constant():
    assert shares(kind="wsd", warmup_steps=10) == shares(kind="constant", warmup_steps=10)


def resolved(steps: int = 100, **schedule):
    return training_spec(steps, schedule={"kind": "wsd", **schedule})


def test_shares_of_the_run_are_its_steps():
    shared = resolved(warmup="2.5%", cooldown="20%")
    assert (shared.schedule.warmup_steps, shared.schedule.cooldown_steps) == (2, 20)
    assert shared.schedule.share(99, 100) == resolved(warmup_steps=2, cooldown_steps=20).schedule.share(99, 100)
    assert resolved(10, warmup="1%").schedule.warmup_steps == 1


def test_a_share_counts_as_its_steps():
    shared, counted = resolved(warmup="4%", cooldown="20%"), resolved(warmup_steps=4, cooldown_steps=20)
    assert canonical(shared) == canonical(counted)
    assert canonical(TrainingSpec.model_validate_json(shared.model_dump_json())) == canonical(counted)


def test_a_variant_of_another_length_has_shares_of_its_own():
    longer = over(resolved(warmup="4%", cooldown="20%").model_dump(mode="json"), {"tokens": 256 * 200})
    schedule = TrainingSpec.model_validate_json(json.dumps(longer)).schedule
    assert (schedule.warmup_steps, schedule.cooldown_steps) == (8, 40)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"warmup": "2%", "warmup_steps": 2}, "wsd: give warmup or warmup_steps, and not both; .* warmup: null"),
        ({"cooldown": "20%", "cooldown_steps": 2}, "give cooldown or cooldown_steps"),
        ({"warmup": "0%"}, r"wsd: warmup: give a share of the run's steps, .* such as 2% \(it is '0%'\)"),
        ({"warmup": "0.02"}, "warmup: give a share"),
        ({"warmup": "two%"}, "warmup: give a share"),
        ({"warmup": "60%", "cooldown": "60%"}, "warm-up and cooldown take 120 steps, but the run has only 100"),
    ],
)
def test_shares_that_can_not_be_are_refused(settings, message):
    with pytest.raises(ValidationError, match=message):
        resolved(**settings)


def test_a_branch_has_the_warmup_of_its_trunk():
    trunk = training_spec(100, schedule={"kind": "wsd", "warmup": "4%"}, branch_points=(50,))
    branch = BranchSpec(from_step=50, steps=10).training(trunk)
    assert (branch.steps, branch.schedule.warmup_steps, branch.schedule.cooldown_steps) == (60, 4, 10)
