import json
import math

import numpy as np
import pytest

from llm_core.study import ablation_report
from llm_core.study.ladder import ladder
from tests.study.planted import MODEL, STUDY, TRAINING, VOCABULARY, Study, artifact, law

IDEAS = {
    "good": {"mixer": {"qk_norm": True}},
    "alike": {"logit_softcap": 30.0},
    "diverging": {"training": {"z_loss": 1e-4}},
}
EFFECT = {"good": -0.02, "alike": 0.0, "diverging": 0.0}


def planned(seeds=4):
    sizes = [
        {"width": 256, "seeds": seeds, "rates": [0.5, 2.0], "ideas": True},
        *STUDY.model_dump(mode="json")["sizes"][1:],
    ]
    plain = {**STUDY.model_dump(mode="json"), "sizes": sizes, "ideas": IDEAS, "margin": 0.01}
    return ladder(type(STUDY).model_validate_json(json.dumps(plain)), MODEL, TRAINING, VOCABULARY, 7)


def compared(tmp_path, seeds=4, noise=0.002):
    """The report on runs with known effects of ideas, each with another best rate."""
    rng = np.random.default_rng(5)
    study = Study(tmp_path)
    study.noise()
    study.law()
    found, orders = planned(seeds), {}
    for run in found.ablations():
        order = orders.setdefault(run.seed, rng.normal(0, 0.05))  # what runs of a seed have in common is large
        best = 2.0 if run.idea == "good" else 1.0
        loss = law(run.parameters, run.tokens) * math.exp(order + EFFECT.get(run.idea, 0) + rng.normal(0, noise))
        loss *= math.exp(0.05 * math.log(run.multiple / best) ** 2)
        bad = run.idea == "diverging" and run.seed == 7
        fields = {"final_validation_bits_per_byte": None if bad else loss, "validation_tokens": 1024}
        speed = {"tokens_per_second": 5e4 if run.idea == "good" else 1e5, "peak_memory_bytes": 1e9, "parameters": 1000}
        study.made[run.role] = artifact({**fields, **speed, "skipped_steps": 0})
    study.made["token_shards"] = artifact({"train_bytes_per_token": 4.0})
    study.made["idea_data/alike/token_shards"] = artifact({"train_bytes_per_token": 5.0})
    shards = {"alike": "idea_data/alike/token_shards"}
    config = {"runs": found.ablations(), "margin": 0.01, "looks": 1, "changes": IDEAS, "shards": shards}
    results = study.stage("ablation_report", ablation_report.build, **config)
    return results, {row["idea"]: row for row in results.rows}, {row["idea"]: row for row in results.clocks}


def test_what_helps_is_found_and_what_does_not_matter_is_equivalent(tmp_path):
    _, rows, _ = compared(tmp_path)
    assert rows["good"]["verdict"] == "better"
    assert rows["good"]["low"] < -0.02 < rows["good"]["high"] < 0
    assert (rows["good"]["multiple"], rows["good"]["baseline_multiple"], rows["good"]["at_edge"]) == (2.0, 1.0, True)
    assert rows["alike"]["verdict"] == "equivalent"
    assert (rows["alike"]["seeds"], rows["alike"]["at_edge"]) == (4, False)


def test_diverged_runs_are_counted_apart(tmp_path):
    _, rows, _ = compared(tmp_path)
    assert rows["diverging"]["seeds"] == 3
    assert rows["diverging"]["diverged"] == 3  # one seed, at three rates
    assert rows["diverging"]["verdict"] == "diverged"
    assert rows["good"]["diverged"] == 0


def test_a_slow_idea_loses_at_equal_time(tmp_path):
    _, rows, clocks = compared(tmp_path)
    assert clocks["good"]["speed"] == pytest.approx(0.5)
    # Half the text costs more than what the idea gains.
    assert clocks["good"]["at_equal_time"] > rows["good"]["difference"] + 0.02
    assert clocks["alike"]["at_equal_time"] == pytest.approx(rows["alike"]["difference"])
    assert rows["alike"]["at_equal_flops"] == pytest.approx(rows["alike"]["difference"], abs=1e-6)


def test_an_idea_with_longer_tokens_loses_at_equal_text(tmp_path):
    _, rows, _ = compared(tmp_path)
    assert (rows["good"]["text"], rows["alike"]["text"]) == (1.0, 1.25)
    assert rows["good"]["at_equal_text"] == pytest.approx(rows["good"]["difference"])
    run = next(run for run in planned().ablations() if not run.idea)
    less = math.log(law(run.parameters, run.tokens / 1.25) / law(run.parameters, run.tokens))
    assert rows["alike"]["at_equal_text"] - rows["alike"]["difference"] == pytest.approx(less, rel=0.3)


def test_one_seed_decides_nothing(tmp_path):
    results, rows, _ = compared(tmp_path, seeds=1)
    assert {idea: row["verdict"] for idea, row in rows.items()} == {
        "good": "undecided",
        "alike": "undecided",
        "diverging": "diverged",
    }
    assert rows["good"]["low"] is None
    assert not ablation_report.several_seeds(results, None).passed


def test_noise_leaves_it_undecided_and_says_how_many_seeds_would_do(tmp_path):
    _, rows, _ = compared(tmp_path, seeds=2, noise=0.02)
    assert rows["alike"]["verdict"] == "undecided"
    assert rows["alike"]["seeds_needed"] is None or rows["alike"]["seeds_needed"] > 2


def test_an_idea_has_the_budget_of_the_launched_recipe():
    found = planned()
    steps = {run.steps for run in found.ablations() if run.width == 256}
    assert len(steps) == 1
    assert {run.idea for run in found.ablations()} == {"", *IDEAS}
    per_idea = [sum(run.idea == idea for run in found.ablations()) for idea in ("", *IDEAS)]
    assert per_idea == [12, 12, 12, 12]
