"""Comparisons beside statsmodels, and on differences whose truth is known."""

import numpy as np
import pytest
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import CompareMeans, DescrStatsW

from llm_core.errors import PedigreeError
from llm_core.science.comparison import compare, compare_unlike, holm, moderated


def test_holm_is_statsmodels(monkeypatch):
    monkeypatch.setattr("gc.collect", lambda: 0)  # statsmodels calls it each time: seconds in a process of many tests
    p = np.random.default_rng(0).uniform(size=(20, 7)) ** 3
    for row in p:
        assert holm(row) == pytest.approx(multipletests(row, method="holm")[1])


def test_one_idea_is_a_t_test_and_two_one_sided_ones():
    values = np.random.default_rng(1).normal(-0.004, 0.01, 9)
    (found,) = compare({"idea": values}, margin=0.01)
    theirs = DescrStatsW(values)
    assert found.p == pytest.approx(theirs.ttest_mean()[1])
    assert found.p_equivalent == pytest.approx(theirs.ttost_mean(-0.01, 0.01)[0])
    assert (found.low, found.high) == pytest.approx(theirs.tconfint_mean())


def _called(mean: float, seeds: int, draws: int = 200) -> float:
    rng = np.random.default_rng(2)
    verdicts = [
        {found.idea: found.verdict for found in compare(_ideas(rng, mean, seeds), margin=0.1)} for _ in range(draws)
    ]
    return float(np.mean([any(verdict in ("better", "worse") for verdict in draw.values()) for draw in verdicts]))


def _ideas(rng, mean: float, seeds: int, ideas: int = 6) -> dict:
    return {str(number): rng.normal(mean if number == 0 else 0.0, 1.0, seeds) for number in range(ideas)}


def test_equal_pairs_are_rarely_called_different():
    assert _called(0.0, seeds=3) <= 0.07


def test_a_difference_of_two_standard_deviations_is_found():
    assert _called(-2.0, seeds=6) >= 0.8


def test_verdicts():
    rng = np.random.default_rng(3)
    noise = rng.normal(0, 0.001, (4, 6))
    noise -= noise.mean(axis=1, keepdims=True)
    found = compare(
        {"good": noise[0] - 0.02, "bad": noise[1] + 0.02, "same": noise[2], "unclear": noise[3] + 0.0045}, margin=0.005
    )
    assert [one.verdict for one in found] == ["better", "worse", "equivalent", "worse"]
    (one,) = compare({"unclear": [0.011, -0.004, 0.006]}, margin=0.002)
    assert one.verdict == "undecided"
    assert one.seeds_needed > 3
    assert one.low < 0 < one.high
    assert found[0].high < 0
    assert found[0].seeds_needed is None


def test_more_looks_are_stricter():
    values = {"idea": [-0.9, -1.3, -0.5, -1.4]}
    (once,), (often,) = compare(values, 0.1), compare(values, 0.1, looks=20)
    assert once.verdict == "better"
    assert often.verdict == "undecided"
    assert often.low < once.low


def test_noise_needs_two_seeds():
    with pytest.raises(PedigreeError, match="one seed per idea"):
        compare({"a": [0.1], "b": [0.2]}, 0.01)
    with pytest.raises(PedigreeError, match="b: no differences"):
        compare({"a": [0.1, 0.2], "b": [np.nan]}, 0.01)


def test_equal_runs():
    (found,) = compare({"same": [0.0, 0.0, 0.0]}, 0.01)
    assert found.verdict == "equivalent"
    assert found.difference == 0.0


def test_one_idea_with_noise_of_its_own_is_a_t_test_of_two_samples():
    rng = np.random.default_rng(5)
    before, after = rng.normal(0, 0.02, 5), rng.normal(-0.05, 0.03, 5)
    (found,) = compare_unlike({"idea": before}, {"idea": after}, margin=0.01)
    theirs = CompareMeans(DescrStatsW(after), DescrStatsW(before))
    assert found.p == pytest.approx(theirs.ttest_ind()[1])
    assert (found.low, found.high) == pytest.approx(theirs.tconfint_diff())


@pytest.mark.parametrize("times", [2, 4, 10])
def test_a_busy_machine_decides_nothing(times):
    """Runs that are slowed at random, more so in some rows."""
    rng, called = np.random.default_rng(6), []
    for _ in range(60):
        noise = np.where(rng.uniform(size=(14, 1)) < 0.15, 0.05 * times, 0.05)
        before, after = rng.normal(0, noise, (14, 3)), rng.normal(0, noise, (14, 3))
        sides = [{str(row): values for row, values in enumerate(side)} for side in (before, after)]
        pooled = compare({row: sides[1][row] - sides[0][row] for row in sides[0]}, margin=0.02)
        found = compare_unlike(*sides, margin=0.02)
        called.append([any(one.verdict != "undecided" for one in judged) for judged in (pooled, found)])
    assert np.mean(called, axis=0)[0] <= 0.12
    assert np.mean(called, axis=0)[1] <= 0.07


def test_a_quiet_machine_decides():
    before, after = {"a": [1.0, 1.01, 0.99], "b": [1.0, 1.0, 1.01]}, {"a": [0.7, 0.71, 0.7], "b": [1.0, 1.01, 1.0]}
    assert [one.verdict for one in compare_unlike(before, after, margin=0.05)] == ["better", "equivalent"]


def noise(sds, seeds, draws=150, seed=2):
    """The ideas called by mistake, per idea, where none differs from the baseline."""
    rng = np.random.default_rng(seed)
    called = np.zeros(len(sds))
    for _ in range(draws):
        pairs = {str(place): rng.normal(0, sd, seeds) for place, sd in enumerate(sds)}
        called += [found.verdict in ("better", "worse") for found in compare(pairs, 1e-9)]
    return called / draws


def test_a_noisy_idea_beside_quiet_ones_is_rarely_called():
    """With the mean variance, it would be called in a quarter of the draws."""
    called = noise([0.2] * 5 + [1], 4)
    assert called[-1] <= 0.08
    assert called[:-1].sum() <= 0.08


def test_a_spiked_idea_does_not_blind_the_others():
    good, spiked = [-0.021, -0.019, -0.0205, -0.0195], [0.3, -0.1, 0.5, 0.2]
    found = {
        each.idea: each
        for each in compare({"good": good, "other": [0.001, -0.001, 0, 0.0005], "spiked": spiked}, 0.002)
    }
    assert found["good"].verdict == "better"
    assert found["spiked"].verdict == "undecided"


def test_an_idea_that_changes_nothing_is_equivalent_and_lends_no_certainty():
    pairs = {"nothing": [0.0, 0.0, 0.0], "noisy": [0.010, 0.001, 0.007]}
    nothing, noisy = compare(pairs, 0.002)
    assert nothing.verdict == "equivalent"
    assert noisy.verdict == "undecided"
    alone = compare({"noisy": pairs["noisy"]}, 0.002)[0]
    assert noisy.high - noisy.low == pytest.approx(alone.high - alone.low)


def test_the_seeds_that_would_decide_are_more_than_there_are():
    (found,) = compare({"idea": [0.004, -0.001]}, 0.002)
    assert found.verdict == "undecided"
    assert found.seeds_needed > 2


def test_variances_that_hardly_differ_are_averaged():
    """Their spread can be as near to what chance makes as one likes."""
    own, freedom = np.array([1.0, 3.2, 0.6]), np.full(3, 2.0)
    for factor in np.linspace(0.5, 4, 400):
        variance, degrees = moderated(own**factor, freedom)
        assert np.isfinite(variance).all()
        assert (degrees <= 6).all()


def test_ideas_that_share_the_runs_of_the_baseline_are_rarely_called():
    """With the sum of all degrees of freedom, an idea would be called in 45 of these 600 draws."""
    rng = np.random.default_rng(1)
    called = 0
    for _ in range(600):
        baseline, *ideas = rng.normal(0, 1, (4, 4))
        found = compare({str(number): idea - baseline for number, idea in enumerate(ideas)}, 1e-9)
        called += any(one.verdict in ("better", "worse") for one in found)
    assert called / 600 <= 0.06
