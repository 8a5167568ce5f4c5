import numpy as np
import pytest

from llm_core.experiment.training import BatchPhase, TrainingSpec
from llm_core.tokens.batch_sizes import BatchSizes, batch_sizes, tokens_before


def test_steps_and_rows_are_found_both_ways():
    sizes = BatchSizes([(0, 2), (3, 5), (4, 1)])
    rows = [2, 2, 2, 5, 1, 1, 1]
    assert [sizes.at(step) for step in range(7)] == rows
    assert [sizes.before(step) for step in range(8)] == [sum(rows[:step]) for step in range(8)]
    assert sizes.steps_of(np.arange(14)).tolist() == [step for step, size in enumerate(rows) for _ in range(size)]


@pytest.mark.parametrize("phases", [[], [(1, 2)], [(0, 2), (4, 0)]])
def test_sizes_that_leave_a_step_without_a_batch_are_refused(phases):
    with pytest.raises(ValueError, match="batch sizes"):
        BatchSizes(phases)


def training(tokens: int, **fields) -> TrainingSpec:
    return TrainingSpec(sequence_length=8, batch_tokens=64, tokens=tokens, **fields)


@pytest.mark.parametrize("tokens", [16, 40, 47, 48, 49, 111, 112, 175, 176, 1000])
def test_a_run_makes_the_steps_that_its_tokens_pay_for(tokens):
    phases = tuple(BatchPhase(from_step=start, batch_tokens=size) for start, size in ((0, 16), (3, 64)))
    spec = training(tokens, batch_schedule=phases)
    assert [size for _, size in batch_sizes(spec).phases] == [2, 8]
    assert tokens_before(spec, spec.steps) <= tokens < tokens_before(spec, spec.steps + 1)
    assert tokens_before(spec, 4) == 3 * 16 + 64


def test_without_a_schedule_all_batches_are_equal():
    assert (training(200).steps, tokens_before(training(200), 2)) == (3, 128)
