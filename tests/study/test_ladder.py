import json

import pytest

from llm_core.errors import PedigreeError
from llm_core.experiment.base import canonical
from llm_core.experiment.model import ModelSpec
from llm_core.experiment.study import StudySpec
from llm_core.experiment.training import TrainingSpec
from llm_core.study.ladder import ladder

MODEL = ModelSpec(preset="tiny_llama3")
SCHEDULE = {"kind": "wsd", "warmup_steps": 4, "cooldown_steps": 10}
TRAINING = TrainingSpec(
    sequence_length=32, batch_tokens=512, tokens=1_000_000, schedule=SCHEDULE, optimizer={"lr": 1e-3}
)


SHARES = '{"batch_tokens": 512, "tokens": 1000000, "schedule": {"kind": "wsd", "warmup": "2%", "cooldown": "20%"}}'


def study(**fields):
    sizes = [{"width": 32}, {"width": 64, "seeds": 2, "rates": [0.5, 2.0]}]
    plain = {
        "sizes": sizes,
        "tokens_per_parameter": [1.0, 2.0],
        "training": {"batch_tokens": 256},
        "gate": None,
        **fields,
    }
    return StudySpec.model_validate_json(json.dumps(plain))


def planned(**fields):
    return ladder(study(**fields), MODEL, TRAINING, 300, 7)


def content(runs):
    """Stage → all that decides its weights."""
    return {
        stage.name: (canonical(stage.model), canonical(stage.training), stage.seed, stage.start)
        for stage in runs.stages
    }


def test_a_size_has_a_trunk_in_segments_and_a_cooldown_for_each_budget():
    found = planned(sizes=[{"width": 32}])
    first, short, second, _ = found.stages
    assert [stage.start for stage in found.stages] == [None, first.name, first.name, second.name]
    assert first.training.branch_points == (short.from_step,) == (first.training.steps,)
    assert second.from_step == first.training.steps
    (small, large) = found.of("cooldown")
    assert small.parameters == large.parameters
    assert large.tokens == pytest.approx(2 * small.tokens, rel=0.01)
    assert short.training.schedule.falling_steps() == round(0.2 * short.training.steps)
    assert short.training.optimizer.lr == pytest.approx(4e-3)  # a quarter of the width
    # The trunk counts once: less than the runs by themselves.
    assert found.flops < small.flops + large.flops


def test_what_a_study_has_does_not_change_when_it_grows():
    before = content(planned())
    for grown in (
        {"tokens_per_parameter": [1.0, 2.0, 4.0]},
        {"sizes": [{"width": 32, "seeds": 2}, {"width": 64, "seeds": 3, "rates": [0.25, 0.5, 2.0]}, {"width": 96}]},
    ):
        after = content(planned(**grown))
        assert {name: after.get(name) for name in before} == {**before, **{n: after[n] for n in before if "rate_" in n}}
        assert len(after) > len(before)


def test_a_later_cooldown_leaves_the_trunk_alone():
    before, after = planned(), planned(cooldown=0.3)
    trunks = {stage.name for stage in before.stages if "trunk" in stage.name}
    assert trunks.isdisjoint(stage.name for stage in after.stages)  # other steps, other names


def test_budgets_can_be_the_same_for_all_sizes():
    found = planned(tokens_per_parameter=[], tokens=[12_800, 25_600])
    assert {run.tokens for run in found.of("cooldown")} == {12_800, 25_600}


def test_a_model_with_a_parametrisation_has_one_rate_at_all_sizes():
    base = {"kind": "completep", "base_width": 32, "base_layers": 1}
    found = ladder(study(), ModelSpec(preset="tiny_llama3", parametrization=base), TRAINING, 300, 7)
    assert {run.rate for run in found.of("cooldown")} == {1e-3}


def test_sweeps_share_the_run_at_the_rate_of_the_size():
    found = planned()
    assert [run.multiple for run in found.compared("rates")] == [1.0, 0.5, 2.0]
    assert found.compared("rates")[0].role == "scaling_runs/width_64_steps_" + str(found.compared("rates")[1].steps)
    assert [run.rate for run in found.compared("rates")] == pytest.approx([2e-3, 1e-3, 4e-3])


def test_impossible_studies_are_refused_in_words():
    with pytest.raises(PedigreeError, match=r"study: width 32: trunks have a constant rate, so .* must be wsd"):
        ladder(
            study(),
            MODEL,
            TRAINING.model_copy(update={"schedule": TrainingSpec(batch_tokens=512, tokens=512).schedule}),
            300,
            7,
        )
    with pytest.raises(PedigreeError, match=r"study: width 32: study.training: batch_tokens 100 is not a multiple"):
        planned(training={"batch_tokens": 100})
    shared = TRAINING.model_copy(update={"schedule": TrainingSpec.model_validate_json(SHARES).schedule})
    with pytest.raises(PedigreeError, match=r"the warm-up of a trunk .*: \{schedule: \{warmup: null, warmup_steps: …"):
        ladder(study(), MODEL, shared, 300, 7)
    counted = study(training={"batch_tokens": 256, "schedule": {"warmup": None, "warmup_steps": 4}})
    assert content(ladder(counted, MODEL, shared, 300, 7)) == content(planned())
    phases = [{"from_step": 0, "batch_tokens": 128}, {"from_step": 10_000, "batch_tokens": 256}]
    with pytest.raises(PedigreeError, match=r"study: width 32: training.batch_schedule: .* from step 10000 never"):
        planned(training={"batch_tokens": 256, "batch_schedule": phases})
    with pytest.raises(PedigreeError, match="take budgets that differ more"):
        planned(tokens_per_parameter=[1.0, 1.001])
    with pytest.raises(ValueError, match="give either tokens_per_parameter or tokens"):
        study(tokens=[1000])
    with pytest.raises(ValueError, match=r"sizes: .* must rise"):
        study(sizes=[{"width": 64}, {"width": 32}])
    with pytest.raises(ValueError, match="leave out 1 and copies"):
        study(sizes=[{"width": 64, "rates": [1.0, 2.0]}])
    with pytest.raises(ValueError, match=r"rates \[2.0\]: a parabola takes three rates"):
        study(sizes=[{"width": 64, "rates": [2.0]}])
    with pytest.raises(ValueError, match="the forecast is about the held-out text of the full run"):
        study(training={"validation_tokens": 5})
    with pytest.raises(ValueError, match=r"training.tokens: the study sets it"):
        study(training={"tokens": 5})
    three = [{"width": 16}, {"width": 32}, {"width": 64}]
    with pytest.raises(ValueError, match=r"tokens: a scaling law takes at least 3 amounts of text, .* these 2"):
        study(gate={}, sizes=three, tokens_per_parameter=[], tokens=[5_000, 10_000])
    with pytest.raises(ValueError, match=r"2 sizes and 6 runs are too few for a scaling law, .*gate: null"):
        study(gate={})


def test_an_idea_is_as_deep_as_the_recipe_that_it_is_compared_with():
    ideas = {"windows": {"pattern": [{"mixer": {"window": 8}}, {}]}}
    sizes = [{"width": 32, "ideas": True}]  # a quarter of four layers; the pattern's two do not fit
    with pytest.raises(ValueError, match=r"ideas\.windows: width 32: the pattern gives it 2 layers, .* has 1 at this"):
        study(sizes=sizes, ideas=ideas).recipes(MODEL, TRAINING)
    assert study(sizes=[{"width": 64, "ideas": True}], ideas=ideas).recipes(MODEL, TRAINING)
    deeper = {"deeper": {"n_layers": 8}}  # meant so
    assert study(sizes=sizes, ideas=deeper).recipes(MODEL, TRAINING)


def test_more_seeds_of_one_idea_add_its_runs_and_those_that_they_are_compared_with():
    ideas = {"norm": {"mixer": {"qk_norm": True}}, "softcap": {"logit_softcap": 30.0}}
    size = {"width": 64, "seeds": 2, "rates": [0.5, 2.0], "ideas": True}
    before = planned(sizes=[size], ideas=ideas)
    after = planned(sizes=[{**size, "idea_seeds": {"norm": 4}}], ideas=ideas)
    new = content(after).keys() - content(before).keys()
    rates = ("", "_times_0p5", "_times_2")
    places = [f"{place}/width_64_seed_{number}" for place in ("idea_runs/norm", "compared_runs") for number in (3, 4)]
    assert new == {place + rate for place in places for rate in rates}
    assert content(before).items() <= content(after).items()
    # The laws take none of them.
    for part in ("trunk", "cooldown", "rates"):
        assert after.of(part) == before.of(part)
    pairs = {(run.idea, run.seed, run.multiple) for run in after.ablations()}
    assert {(idea, 10, rate) for idea in ("", "norm") for rate in (0.5, 1.0, 2.0)} <= pairs


@pytest.mark.parametrize(
    ("idea_seeds", "message"),
    [({"nor": 4}, "tries no idea of that name"), ({"norm": 1}, "1 is below seeds 2, which all ideas have")],
)
def test_seeds_of_ideas_that_do_not_fit_are_errors(idea_seeds, message):
    size = {"width": 64, "seeds": 2, "ideas": True, "idea_seeds": idea_seeds}
    with pytest.raises(ValueError, match=message):
        study(sizes=[size], ideas={"norm": {"mixer": {"qk_norm": True}}})
