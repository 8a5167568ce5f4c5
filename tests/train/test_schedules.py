import math
from itertools import pairwise

import pytest

from llm_core.experiment.component import KindOf
from llm_core.experiment.optimization import ScheduleSpec
from llm_core.registries import SCHEDULES

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
