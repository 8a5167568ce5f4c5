import numpy as np

from llm_core.report.curves import column, smooth, thin, validation


def test_columns_have_a_gap_where_a_step_has_no_figure() -> None:
    steps = [{"step": 1, "loss": 2.0}, {"step": 2, "loss": None, "validation_loss": 3.0}]
    np.testing.assert_array_equal(column(steps, "loss"), [2.0, np.nan])
    at, losses = validation(steps)
    assert (at.tolist(), losses.tolist()) == ([2.0], [3.0])


def test_smooth_is_a_centred_mean_that_skips_gaps() -> None:
    values = np.array([1.0, 2.0, np.nan, 4.0, 9.0])
    np.testing.assert_allclose(smooth(values, 1), [1.5, 1.5, 3.0, 6.5, 6.5])
    np.testing.assert_array_equal(smooth(np.array([np.nan, np.nan]), 1), [np.nan, np.nan])


def test_thin_keeps_both_ends() -> None:
    assert thin(3).tolist() == [0, 1, 2]
    kept = thin(20_000, 500)
    assert (kept[0], kept[-1], len(kept)) == (0, 19_999, 500)
