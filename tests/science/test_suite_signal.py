import numpy as np
import pytest

from llm_core.science.seed_noise import by_size, pooled
from llm_core.science.suite_signal import signals

SIZES = [64] * 9 + [128] * 6
TOKENS = [100, 200, 400] * 5
"""Three seeds of the first size, two of the second, with three budgets each."""
YES = [True] * len(SIZES)


def drawn(rng, gain, noise=0.01, chance=0.25):
    return chance + gain * np.log2(np.array(TOKENS) / 100) + rng.normal(0, noise, len(TOKENS))


def test_noise_is_pooled_by_the_seeds_beyond_the_first():
    runs = [("a", 1, 0.0), ("a", 1, 2.0), ("a", 2, 0.0), ("a", 2, 4.0), ("b", 1, 1.0), ("b", 1, 1.0), ("b", 1, 4.0)]
    found = by_size([*runs, ("c", 1, 9.0)])
    assert (found["a"].variance, found["a"].freedom) == (5.0, 1)  # budgets of one trunk are one sample
    assert (found["b"].variance, found["b"].freedom) == (3.0, 2)
    total = pooled(found.values())
    assert (total.variance, total.freedom) == (pytest.approx(11 / 3), 3)
    assert pooled([]) is None


def test_a_suite_without_signal_rarely_decides():
    rng = np.random.default_rng(1)
    called = [signal.decides for _ in range(300) for signal in signals(drawn(rng, 0.0), SIZES, TOKENS, YES)]
    assert np.mean(called) <= 0.05


def test_a_suite_with_signal_mostly_decides_and_ranks_as_said():
    rng = np.random.default_rng(2)
    found = [signal for _ in range(200) for signal in signals(drawn(rng, 0.03), SIZES, TOKENS, YES)]
    assert np.mean([signal.decides for signal in found]) > 0.9
    pairs = rng.normal(0, 0.01, (20_000, 2))
    really = np.mean(pairs[:, 0] + 0.03 > pairs[:, 1])
    assert really - 0.05 < np.mean([signal.ranked for signal in found]) <= really + 0.01
    assert np.mean([signal.gain for signal in found]) == pytest.approx(0.03, abs=0.001)


def test_the_reason_is_said():
    rng = np.random.default_rng(3)
    scores = drawn(rng, 0.05)

    def reasons(*changes):
        return [signal.reason for signal in signals(*changes)]

    assert reasons(scores, SIZES, TOKENS, YES) == ["", ""]
    assert reasons(scores, SIZES, TOKENS, [False] * 15) == ["its score can't be told from chance"] * 2
    one = [place for place in range(15) if place < 3 or 9 <= place < 12]
    alone = [np.array(column)[one].tolist() for column in (scores, SIZES, TOKENS, YES)]
    assert reasons(*alone) == ["no size has several seeds, so the noise is not known"] * 2
    assert "one budget" in reasons(scores, SIZES, [100] * 15, YES)[0]
    assert reasons(-scores, SIZES, TOKENS, YES) == ["more text does not improve it"] * 2
    assert "may be noise between seeds" in reasons(scores + np.tile([0.099, 0.0, 0.0], 5), SIZES, TOKENS, YES)[0]
    long = [100, 100 * 2**20, 100 * 2**40] * 5
    assert "of pairs rightly, and 80% are needed" in reasons(scores, SIZES, long, YES)[0]


def test_seeds_that_agree_by_chance_have_the_noise_of_an_item():
    scores = [0.3, 0.32, 0.4, 0.3, 0.32, 0.4]
    (signal,) = signals(scores, [64] * 6, [100, 200, 400] * 2, [True] * 6, step=0.05)
    assert signal.noise == 0.05
    assert not signal.decides
    (exact,) = signals(scores, [64] * 6, [100, 200, 400] * 2, [True] * 6)
    assert exact.decides
