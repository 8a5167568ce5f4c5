import numpy as np
import pytest

from llm_core.errors import PedigreeError
from llm_core.science.mixture_law import MixtureLaw
from llm_core.study import mixture_law
from llm_core.study.size_recipe import mixed
from tests.study.planted_mixtures import LAW, SOURCES, TARGET, planned, searched


def test_every_mixture_is_trained_once_and_held_out_ones_with_several_seeds():
    spec, runs = planned(seeds=3)
    found = runs.of("mixtures")
    assert len(found) == 20 + 2 * 5
    assert {run.tokens for run in found} == {max(run.tokens for run in runs.of("cooldown") if run.width == 256)}
    stages = {stage.name: stage for stage in runs.stages}
    for run in found:
        assert stages[run.role].training.mixture.weights == dict(run.weights)
        assert sum(share for _, share in run.weights) == pytest.approx(1)
    # A study that grows keeps its mixtures.
    assert mixed(spec.model_copy(update={"runs": 30}), 7)[:20] == mixed(spec, 7)


def test_the_planted_best_mixture_is_found(tmp_path):
    found = searched(tmp_path, launched={"web": 1, "books": 1, "code": 8})
    assert not found.refusal
    assert mixture_law.held_out_predicted(found, None).passed
    assert found.rank_correlation >= 0.9
    assert found.target == pytest.approx({"web": 1 / 2, "books": 1 / 3, "code": 1 / 6})
    spec, _ = planned()
    candidates = np.array(mixed(spec, 7, 4096))
    true = candidates[np.argmin(LAW.losses(candidates) @ TARGET)]
    for source, share in zip(SOURCES, true, strict=True):
        assert found.best["low"][source] <= share <= found.best["high"][source]
        assert found.best["weights"][source] == pytest.approx(share, abs=0.05)
    ours = np.array([[0.1, 0.1, 0.8]])
    behind = (LAW.losses(ours) @ TARGET)[0] / (LAW.losses(true[None]) @ TARGET)[0] - 1
    assert found.launched["low"] <= behind <= found.launched["high"]
    assert found.launched["low"] > 0


def test_a_target_moves_the_best_mixture(tmp_path):
    weights = [
        searched(tmp_path / str(code), target={"web": 1, "code": code}).best["weights"]["code"] for code in (1, 20)
    ]
    assert weights[0] < weights[1] - 0.1


def test_a_source_with_little_text_gets_no_more_than_it_has(tmp_path):
    # The full run reads 4 billion tokens, and code has 100 million.
    found = searched(tmp_path, train=(2 * 10**9, 2 * 10**9, 10**8), target={"code": 1})
    assert found.best["high"]["code"] <= 0.1
    with pytest.raises(PedigreeError, match="more than 4 times in the full run: use more text"):
        searched(tmp_path / "less", train=(10**6,) * 3)


def test_nothing_is_recommended_within_noise(tmp_path):
    flat = MixtureLaw(LAW.floors, np.zeros((3, 3)))
    found = searched(tmp_path, noise=0.01, law=flat)
    assert "these runs do not rank mixtures: their losses differ by" in found.refusal
    assert not mixture_law.held_out_predicted(found, None).passed


def test_nothing_is_recommended_by_small_models(tmp_path):
    found = searched(tmp_path, least_parameters=10**9)
    assert "parameters, and runs below 1,000,000,000 do not rank mixtures" in found.refusal
    assert found.rank_correlation >= 0.9  # which is told all the same


def test_nothing_is_recommended_by_a_law_that_does_not_predict(tmp_path):
    class Odd:
        """Losses that no smooth function of the weights follows."""

        def losses(self, weights):
            return np.repeat(1 + 0.2 * (weights[:, :1] * 1024 % 7 > 3), 3, axis=1)

    found = searched(tmp_path, law=Odd())
    assert "the law does not predict the held-out mixtures: the rank correlation is" in found.refusal


def test_diverged_runs_are_left_out_and_named(tmp_path):
    found = searched(tmp_path, lost=1)
    assert found.diverged == ["mixture_runs/mixture_1/width_256"]
    assert len(found.rows) == 24
    with pytest.raises(PedigreeError, match="nearly all runs of the held-out mixtures diverged"):
        searched(tmp_path / "more", lost=8)


def test_settings_that_contradict_each_other_are_refused_in_words():
    with pytest.raises(ValueError, match=r"mixtures\.width 300: give the width of one of the sizes"):
        planned(width=300)
    with pytest.raises(ValueError, match="leave 6 for a law of 3 sources, which takes 7"):
        planned(runs=11)
    with pytest.raises(ValueError, match=r"least: 0\.4 for each of 3 sources leaves nothing to vary"):
        planned(least=0.4)
    with pytest.raises(ValueError, match=r"least\n.*greater than or equal to 0\.002"):
        planned(least=0.0)
    with pytest.raises(ValueError, match="most: no shares between least and most add up to 1"):
        planned(most={"web": 0.3, "books": 0.3, "code": 0.3})
    with pytest.raises(ValueError, match="target: law: not among the sources"):
        planned(target={"law": 1.0})
    with pytest.raises(PedigreeError, match=r"mixtures were found between least and most, and runs is 400: widen"):
        planned(least=0.33, runs=400)
