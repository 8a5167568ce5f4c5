import math

import torch

from llm_core.experiment.guards import GuardsSpec
from llm_core.train.guards import GOOD, GRADIENT, GRADIENT_SPIKE, LOSS, LOSS_SPIKE, StepGuard

CPU = torch.device("cpu")


def judge(guard: StepGuard, loss: float, norm: float = 1.0) -> int:
    return int(guard.judge(torch.tensor(loss), torch.tensor(norm)))


def filled(sigma: float | None = 4.0, window: int = 8) -> StepGuard:
    spikes = {} if sigma is None else {"spike_sigma": sigma, "spike_window": window}
    guard = StepGuard(GuardsSpec(**spikes), CPU)
    for number in range(window):
        assert judge(guard, 2.0 + 0.1 * (-1) ** number, 1.0 + 0.1 * (-1) ** number) == GOOD
    return guard


def test_what_is_not_finite_is_bad_with_and_without_spikes():
    for sigma in (None, 4.0):
        guard = filled(sigma)
        assert [judge(guard, math.nan), judge(guard, math.inf)] == [LOSS, LOSS]
        assert judge(guard, 2.0, math.nan) == GRADIENT
        assert judge(guard, math.nan, math.nan) == LOSS
        assert judge(guard, 2.0) == GOOD


def test_a_spike_lies_so_many_deviations_above_the_last_good_steps():
    guard = filled()  # mean 2, deviation 0.1
    assert judge(guard, 2.41) == LOSS_SPIKE
    assert judge(guard, 2.0, 1.41) == GRADIENT_SPIKE
    assert judge(guard, 2.39, 1.39) == GOOD
    assert judge(guard, 0.1, 0.1) == GOOD  # low is no spike
    assert judge(filled(None), 1000.0) == GOOD


def test_bad_steps_stay_out_of_the_statistics():
    guard, clean = filled(), filled()
    for _ in range(20):
        assert judge(guard, 50.0) == LOSS_SPIKE
        assert judge(guard, math.nan) == LOSS
    assert guard.state_dict() == clean.state_dict()


def test_the_window_moves_on_and_nothing_is_judged_before_it_is_half_full():
    guard = StepGuard(GuardsSpec(spike_sigma=3.0, spike_window=8), CPU)
    assert [judge(guard, loss) for loss in (1.0, 100.0, 1.0, 100.0)] == [GOOD] * 4
    for number in range(8):
        assert judge(guard, 5.0 + 0.01 * number) == GOOD
    assert judge(guard, 6.0) == LOSS_SPIKE  # 100 is forgotten


def test_a_guard_goes_on_from_its_state():
    guard = filled()
    guard.leave_out(40)
    again = StepGuard(GuardsSpec(spike_sigma=4.0, spike_window=8), CPU)
    again.load_state_dict(guard.state_dict())
    assert again.state_dict() == guard.state_dict()
    assert judge(again, 2.41) == judge(guard, 2.41) == LOSS_SPIKE
    assert (again.is_left_out(40), again.is_left_out(41), again.rollbacks) == (True, False, 1)


def test_what_is_left_out_ends_with_the_spike_and_begins_with_the_run_at_the_earliest():
    guard = StepGuard(GuardsSpec(spike_sigma=4.0, spike_action="rollback", rollback_steps=3), CPU)
    assert guard.leave_out(10) == 7
    assert [step for step in range(14) if guard.is_left_out(step)] == [8, 9, 10]
    assert guard.leave_out(2) == 0
    assert guard.rollbacks == 2
