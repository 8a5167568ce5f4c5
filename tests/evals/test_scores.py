import math

import numpy as np
import pytest

from llm_core.errors import PedigreeError
from llm_core.evals.scores import ratio, row


def test_ratio_of_equal_sizes_is_the_mean_with_its_usual_error() -> None:
    right = [1.0, 0.0, 1.0, 1.0, 0.0, 1.0]
    value, error = ratio(right, [1.0] * 6)
    assert value == pytest.approx(4 / 6)
    assert error == pytest.approx(math.sqrt(value * (1 - value) / 5))


def test_ratio_error_agrees_with_resampling() -> None:
    generator = np.random.default_rng(0)
    sizes = generator.integers(50, 3000, 300).astype(float)
    amounts = sizes * (1.5 + 0.3 * generator.standard_normal(300))
    value, error = ratio(amounts, sizes)
    assert value == pytest.approx(amounts.sum() / sizes.sum())
    draws = generator.integers(0, 300, (3000, 300))
    resampled = amounts[draws].sum(axis=1) / sizes[draws].sum(axis=1)
    assert error == pytest.approx(resampled.std(), rel=0.1)


def test_one_document_has_no_error() -> None:
    assert ratio([3.0], [2.0]) == (1.5, None)


def test_a_figure_that_is_none_is_refused() -> None:
    with pytest.raises(PedigreeError, match="not finite"):
        row("heldout", "bits_per_byte", float("nan"), None, 3)
