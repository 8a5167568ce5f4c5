"""The evaluation of the study's runs, and what follows for the suites."""

from assets.evaluation import evaluation
from llm_core.experiment.experiment import Experiment
from llm_core.graph.stage import Stage
from llm_core.study.ladder import Ladder
from llm_core.study.suites import evaluation_of


def stages(experiment: Experiment, runs: Ladder) -> list[Stage]:
    """An evaluation of each cooled-down run, ``suite_signal``, and ``suite_forecast`` where there is a gate; empty
    unless the study evaluates.

    Trunks are not evaluated: the full run ends cooled down, and the ends of a trunk's segments lie a budget apart, so
    they are no last checkpoints whose spread would be noise. Seeds measure it.
    """
    study = experiment.study
    if study is None or not study.evaluate:
        return []
    cooled = runs.of("cooldown")
    scored = {evaluation_of(run): evaluation_of(run) for run in cooled}
    evaluations = [
        evaluation(
            evaluation_of(stage.run),
            "study",
            f"The scores of {stage.name} on the suites of the full run.",
            experiment,
            stage.name,
            stage.model,
            stage.training,
            compute=study.compute,
        )
        for stage in runs.stages
        if stage.part == "cooldown"
    ]
    signal = Stage(
        name="suite_signal",
        group="study",
        description="Which suite can decide at which size: gain from more text over the noise between seeds.",
        build="llm_core.study.suite_signal:build",
        results="llm_core.study.results:SuiteSignal",
        non_blocking=(":some_suite_decides",),
        inputs=scored,
        config={"runs": list(cooled)},
    )
    forecast = Stage(
        name="suite_forecast",
        group="study",
        description="What the full run will score on the suites, with 90% intervals, made before the run.",
        build="llm_core.study.suite_forecast:build",
        results="llm_core.study.results:SuiteForecast",
        non_blocking=(":all_forecast",),
        inputs={**scored, **{run.role: run.role for run in cooled}, "forecast": "forecast"},
        config={"runs": list(cooled)},
    )
    return [*evaluations, signal, *([forecast] if study.gate else [])]
