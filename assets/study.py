"""The study: small runs of the launched model's shape, the laws fitted to them, the forecast, and the launch gate."""

from typing import Any

from assets import study_suites
from assets.idea_data import IdeaData, idea_data
from assets.training import READ, branch_run, training_run
from llm_core.experiment.experiment import LAUNCH_GATE, Experiment
from llm_core.graph.stage import Stage
from llm_core.model.accounting import scaling_parameters
from llm_core.study.ladder import Ladder, ladder
from llm_core.study.study_run import PARTS, LadderStage, StudyRun
from llm_core.train.preflight import run_flops

CONDITIONS = (
    *("half_width", "coverage", "regret", "rate_inside", "runs_sound", "same_recipe"),
    *("epochs", "contamination", "preflight", "hours", "dollars"),
)
"""The checks of the launch gate."""


def stages(experiment: Experiment) -> list[Stage]:
    """The runs, the laws fitted to them, ``ablation_report`` where there are ideas, ``forecast`` and ``launch_gate``
    where there is a gate, and ``study_cost``; empty without ``study``."""
    if experiment.study is None:
        return []
    runs, own = study_ladder(experiment), idea_data(experiment)
    made = [stage for found in own.values() for stage in found.stages]
    gates = tuple(gate for found in own.values() for gate in found.gates)
    trained = [_training(experiment, stage, own.get(stage.run.idea), gates) for stage in runs.stages]
    gate = [_scaling_law(runs), _forecast(experiment, runs), _gate(experiment, runs)] if experiment.study.gate else []
    laws = [_noise_law(runs), _rate_law(experiment, runs), _batch_law(experiment, runs)]
    laws += [*study_suites.stages(experiment, runs), *_ablations(experiment, runs, own), *_mixtures(experiment, runs)]
    return [*made, *trained, *laws, *gate, _cost(runs)]


def score(experiment: Experiment) -> list[Stage]:
    """``forecast_score``; empty where the full run has no gate."""
    return [
        Stage(
            name="forecast_score",
            group="study",
            description="The forecast with which the full run was launched, beside its result.",
            build="llm_core.study.forecast_score:build",
            results="llm_core.study.results:ForecastScore",
            non_blocking=(":within_interval", ":suites_within_intervals"),
            inputs={name: name for name in ("pretrained_model", *_evaluated(experiment, "eval_results"))},
            config={"gate": gate},
        )
        for gate in experiment.gates()
    ]


def study_ladder(experiment: Experiment) -> Ladder:
    """The runs of the experiment's study."""
    assert experiment.study is not None
    vocab_size = experiment.tokenizer.vocab_size
    own = {idea: found.experiment.tokenizer.vocab_size for idea, found in idea_data(experiment).items()}
    return ladder(experiment.study, experiment.model, experiment.full_run(), vocab_size, experiment.seed, own)


def launched_run(experiment: Experiment) -> StudyRun:
    """The full run, in the form of the study's runs."""
    model, training, vocab_size = experiment.model, experiment.full_run(), experiment.tokenizer.vocab_size
    return StudyRun(
        role="pretrained_model",
        width=model.d_model,
        seed=experiment.seed,
        parameters=scaling_parameters(model, vocab_size),
        steps=training.steps,
        tokens=training.tokens_of(training.steps),
        batch=training.batch_tokens,
        flops=run_flops(model, training, vocab_size),
        rate=training.optimizer.lr,
        multiple=1.0,
    )


def _training(experiment: Experiment, stage: LadderStage, data: IdeaData | None, gates: tuple[str, ...]) -> Stage:
    """``gates``: all runs of the study wait for them, since a run that was validated on other text is of no use."""
    assert experiment.study is not None
    options: dict[str, Any] = {"seed": stage.seed, "compute": experiment.study.compute}
    read = READ if data is None else data.read
    experiment = experiment if data is None else data.experiment
    place = (stage.name, "study", stage.description, experiment, stage.model, stage.training)
    if stage.start is None:
        # A rate or an idea with which a run diverges is judged like the others; a trunk is what more runs start from.
        return training_run(*place, **options, read=read, gates=gates, tried=stage.part != "trunk")
    return branch_run(*place, start=stage.start, from_step=stage.from_step, **options)


def _noise_law(runs: Ladder) -> Stage:
    return Stage(
        name="noise_law",
        group="study",
        description="How much the loss differs by seed, order of data and held-out text, by size.",
        build="llm_core.study.noise_law:build",
        results="llm_core.study.results:NoiseLaw",
        non_blocking=(":seeds_repeated",),
        inputs={**_roles(runs.of("cooldown")), **_roles(runs.of("orders"))},
        config={"runs": list(runs.of("cooldown")), "orders": list(runs.compared("orders"))},
    )


def _rate_law(experiment: Experiment, runs: Ladder) -> Stage:
    swept = runs.compared("rates")
    return Stage(
        name="rate_law",
        group="study",
        description="The best learning rate of each sweep, and what the launched rate is expected to lose.",
        build="llm_core.study.rate_law:build",
        results="llm_core.study.results:RateStudy",
        non_blocking=(":best_rates_inside",),
        inputs={**_roles(swept), "noise_law": "noise_law"},
        config={"runs": list(swept), "width": experiment.model.d_model, "rate": experiment.full_run().optimizer.lr},
    )


def _batch_law(experiment: Experiment, runs: Ladder) -> Stage:
    trunks, larger = runs.of("trunk"), runs.compared("batches")
    launched = launched_run(experiment)
    return Stage(
        name="batch_law",
        group="study",
        description="The noise scale of the gradients: the batch at which larger ones stop to pay.",
        build="llm_core.study.batch_law:build",
        results="llm_core.study.results:BatchLaw",
        non_blocking=(":batch_below_critical",),
        inputs={**_roles(trunks), **_roles(larger), "noise_law": "noise_law"},
        config={
            "trunks": list(trunks),
            "batch_runs": list(larger),
            "sequence_length": experiment.full_run().sequence_length,
            "tokens": launched.tokens,
            "batch": launched.batch,
        },
    )


def _scaling_law(runs: Ladder) -> Stage:
    return Stage(
        name="scaling_law",
        group="study",
        description="The loss as a function of parameters and tokens, with errors and backtests.",
        build="llm_core.study.scaling_law:build",
        results="llm_core.study.results:ScalingLaw",
        non_blocking=(":all_runs_good",),
        inputs={**_roles(runs.of("cooldown")), "noise_law": "noise_law"},
        config={"runs": list(runs.of("cooldown"))},
    )


def _forecast(experiment: Experiment, runs: Ladder) -> Stage:
    return Stage(
        name="forecast",
        group="study",
        description="What the full run will reach, with a 90% interval, made before the run.",
        build="llm_core.study.forecast:build",
        results="llm_core.study.results:Forecast",
        non_blocking=(":not_too_far",),
        inputs={**_roles(runs.of("cooldown", "trunk")), "scaling_law": "scaling_law"},
        config={
            "launched": launched_run(experiment),
            "cooldown_steps": experiment.full_run().schedule.falling_steps(),
            "precision": experiment.full_run().precision,
            "runs": list(runs.of("cooldown")),
            "trunks": list(runs.of("trunk")),
            "study_flops": runs.flops,
        },
    )


def _ablations(experiment: Experiment, runs: Ladder, data: dict[str, IdeaData]) -> list[Stage]:
    assert experiment.study is not None
    compared = runs.ablations()
    if not compared:
        return []
    shards = {idea: found.read["shards"] for idea, found in data.items() if found.retokenized}
    of_text = ["token_shards", *shards.values()] if shards else []
    return [
        Stage(
            name="ablation_report",
            group="study",
            description="Each idea against the launched recipe: difference with its interval, verdict, costs.",
            build="llm_core.study.ablation_report:build",
            results="llm_core.study.results:Ablations",
            non_blocking=(":several_seeds", ":best_rates_inside"),
            inputs={
                **_roles(compared),
                **({"scaling_law": "scaling_law"} if experiment.study.gate else {}),
                **{name: name for name in of_text},
            },
            config={
                "runs": list(compared),
                "margin": experiment.study.margin,
                "looks": experiment.study.looks,
                "changes": experiment.study.ideas,
                "shards": shards,
            },
            volatile=("ablations.json",),
            rebuild_when_damaged=True,
        )
    ]


def _mixtures(experiment: Experiment, runs: Ladder) -> list[Stage]:
    assert experiment.study is not None
    tried = runs.of("mixtures")
    if not tried:
        return []
    launched = experiment.full_run().mixture
    return [
        Stage(
            name="mixture_law",
            group="study",
            description="The loss by the weights of the sources, tested on held-out mixtures, and the best weights.",
            build="llm_core.study.mixture_law:build",
            results="llm_core.study.results:MixtureStudy",
            non_blocking=(":held_out_predicted",),
            inputs={**_roles(tried), "token_shards": "token_shards"},
            config={
                "runs": list(tried),
                "mixtures": experiment.study.mixtures,
                "seed": experiment.seed,
                "tokens": experiment.full_run().tokens,
                "launched": launched and launched.weights,
            },
        )
    ]


def _cost(runs: Ladder) -> Stage:
    """Apart from ``forecast``, so that no launch waits for the runs of ideas."""
    parts = {part: list(found) for part in PARTS if (found := runs.of(part))}
    return Stage(
        name="study_cost",
        group="study",
        description="Hours and dollars of all runs of the study, as measured.",
        build="llm_core.study.study_cost:build",
        results="llm_core.study.results:StudyCost",
        non_blocking=(":price_known",),
        inputs=_roles(runs.of(*PARTS)),
        config={"runs": parts, "flops": runs.flops},
    )


def _gate(experiment: Experiment, runs: Ladder) -> Stage:
    assert experiment.study is not None
    every = runs.of("trunk", "cooldown", "rates")
    return Stage(
        name=LAUNCH_GATE,
        group="study",
        description="What must be true before the full run is paid for.",
        build="llm_core.study.launch_gate:build",
        results="llm_core.study.results:LaunchGate",
        blocking=tuple(f":{name}" for name in CONDITIONS),
        inputs={
            **_roles(every),
            **{name: name for name in ("forecast", "scaling_law", "rate_law", "token_shards")},
            **{name: name for name in _evaluated(experiment, "suite_forecast")},
            "decontaminated_documents": "decontaminated_documents",
        },
        config={"model": experiment.model, "training": experiment.full_run(), "runs": list(every)},
        bounds=experiment.study.gate,
        volatile=("gate.json",),
    )


def _evaluated(experiment: Experiment, name: str) -> tuple[str, ...]:
    """The stage ``name``, if the study evaluates its runs."""
    return (name,) if experiment.study and experiment.study.evaluate else ()


def _roles(runs: tuple[StudyRun, ...]) -> dict[str, str]:
    return {run.role: run.role for run in runs}
