"""The stage ``launch_gate``: what must be true before the full run is paid for. Each condition is a blocking check."""

import json
from collections.abc import Callable, Sequence

from llm_core.data.results import DecontaminatedDocuments
from llm_core.errors import PedigreeError
from llm_core.experiment.base import canonical, flat
from llm_core.experiment.model import ModelSpec
from llm_core.experiment.narrowing import narrowed
from llm_core.experiment.study import GateSpec
from llm_core.experiment.training import TrainingSpec
from llm_core.graph.job import Job
from llm_core.graph.stage import Verdict
from llm_core.study.inputs import trained
from llm_core.study.results import Forecast, LaunchGate, RateStudy, ScalingLaw, SuiteForecast
from llm_core.study.study_run import StudyRun
from llm_core.tokens.results import TokenShards
from llm_core.train.capabilities import TrainingRun, check_stage

LEAST_FORECAST = 5
"""Fewer forecasts say nothing about how often the intervals hold."""
SUITES = "suite_forecast"
"""The optional input."""
SIZED = frozenset(
    f"training.{name}"
    for name in (
        *("batch_size", "batch_tokens", "branch_points", "steps", "tokens", "optimizer.lr"),
        *("schedule.warmup_steps", "schedule.cooldown_steps"),
    )
)
"""Fields that belong to the size of a run."""


def build(job: Job, model: ModelSpec, training: TrainingSpec, runs: Sequence[StudyRun]) -> LaunchGate:
    """Collect what the conditions are about. ``runs``: all of the study."""
    forecast = job.inputs["forecast"].results(Forecast)
    law, rates = job.inputs["scaling_law"].results(ScalingLaw), job.inputs["rate_law"].results(RateStudy)
    results = LaunchGate(
        forecast=forecast.loss,
        low=forecast.low,
        high=forecast.high,
        half_width=forecast.half_width,
        curve=forecast.curve,
        suites=job.inputs[SUITES].results(SuiteForecast).rows if SUITES in job.inputs else [],
        coverage=law.coverage,
        forecast_runs=law.forecast_runs,
        regret=rates.regret,
        at_edge=rates.at_edge,
        bad_runs=sorted({*law.diverged, *law.excluded, *_skipping(job, runs)}),
        other_recipe=sorted({field for run in runs for field in _differences(job, run, model, training)}),
        beyond=forecast.beyond,
        epochs=training.tokens / job.inputs["token_shards"].results(TokenShards).train_tokens,
        searched=_searched(job.inputs["decontaminated_documents"].results(DecontaminatedDocuments)),
        preflight=_preflight(job, model, training),
        hours=forecast.hours,
        dollars=forecast.dollars,
    )
    (job.out / "gate.json").write_text(json.dumps(results.model_dump(), indent=1) + "\n", encoding="utf-8")
    return results


def _skipping(job: Job, runs: Sequence[StudyRun]) -> list[str]:
    return [run.role for run in runs if trained(job, run).skipped_steps > 0]


def _differences(job: Job, run: StudyRun, model: ModelSpec, training: TrainingSpec) -> list[str]:
    """The fields in which a run differs from the launched one in more than its size. They are read from the manifest of
    the run, so a plan that says something else does not hide them."""
    theirs = job.inputs[run.role].manifest.config
    ours = {"model": canonical(narrowed(model, run.width)), "training": canonical(training)}
    found = []
    for section in ("model", "training"):
        there, here = flat(theirs[section]), flat(ours[section])
        names = sorted({*there, *here})
        found += [f"{section}.{name}" for name in names if there.get(name) != here.get(name)]
    return [name for name in found if name not in SIZED]


def _searched(results: DecontaminatedDocuments) -> dict[str, float]:
    return {
        name: 1 - suite["items_too_short"] / suite["items"] if suite["items"] else 0.0
        for name, suite in results.suites.items()
    }


def _preflight(job: Job, model: ModelSpec, training: TrainingSpec) -> str:
    try:
        check_stage(TrainingRun("", model, training), job.runtime.compute, job.runtime.log)
    except PedigreeError as error:
        return str(error)
    return ""


def half_width(results: LaunchGate, bounds: GateSpec) -> Verdict:
    """The forecast is narrow enough."""
    return _at_most(results.half_width, bounds.half_width, lambda share: f"the forecast's half-width is {share:.1%}")


def coverage(results: LaunchGate, bounds: GateSpec) -> Verdict:
    """The intervals hold: larger runs of the study lay within those that the smaller ones forecast."""
    bound = bounds.coverage
    if bound is None:
        return _free()
    if results.coverage is None or results.forecast_runs < LEAST_FORECAST:
        message = (
            f"smaller runs of the study forecast {results.forecast_runs} of its larger ones, and it takes "
            f"{LEAST_FORECAST} to judge the intervals: add a size or a budget"
        )
        return Verdict(False, message, value=results.forecast_runs, bound=bound)
    message = f"{results.coverage:.0%} of {results.forecast_runs} larger runs lay within the interval forecast for them"
    return Verdict(results.coverage >= bound, message, value=results.coverage, bound=bound)


def regret(results: LaunchGate, bounds: GateSpec) -> Verdict:
    """The launched learning rate is near the best one."""
    if bounds.regret is None:
        return _free()
    if results.regret is None:
        return Verdict(
            False,
            "what the launched rate loses is not known: no sweep has its best rate inside the rates that were tried",
            bound=bounds.regret,
        )
    return _at_most(results.regret, bounds.regret, lambda share: f"the launched rate is expected to lose {share:.2%}")


def rate_inside(results: LaunchGate, bounds: GateSpec) -> Verdict:
    """Every sweep has its best rate inside the rates that were tried."""
    if bounds.regret is None:
        return _free()
    widths = ", ".join(map(str, results.at_edge))
    return Verdict(
        not results.at_edge,
        f"the best rate of width {widths} is not known: at an edge of its sweep, or the sweep is flat; widen it"
        if widths
        else "every best rate is inside its sweep",
    )


def runs_sound(results: LaunchGate, bounds: GateSpec) -> Verdict:
    """No run of the study diverged, skipped steps, or lies far off the law."""
    del bounds
    bad = ", ".join(results.bad_runs)
    return Verdict(not bad, f"diverged, skipped steps or lies far off the law: {bad}" if bad else "all runs are sound")


def same_recipe(results: LaunchGate, bounds: GateSpec) -> Verdict:
    """The study's runs are the launched model and training, smaller."""
    differ = [name for name in results.other_recipe if name not in bounds.may_differ]
    return Verdict(
        not differ,
        f"the study's runs differ from the launched one in {', '.join(differ)}" if differ else "the recipe is the same",
    )


def epochs(results: LaunchGate, bounds: GateSpec) -> Verdict:
    """The run does not repeat its text too often."""
    return _at_most(results.epochs, bounds.epochs, lambda passes: f"{passes:.2f} passes over the training text")


def contamination(results: LaunchGate, bounds: GateSpec) -> Verdict:
    """The items of the eval suites were searched for in the training text."""
    bound = bounds.searched
    if bound is None or not results.searched:
        return Verdict(True, "no suite to search for" if bound is not None else "no condition")
    name, share = min(results.searched.items(), key=lambda item: item[1])
    message = f"{share:.0%} of the items of {name} are long enough to be searched for in the training text"
    return Verdict(share >= bound, message, value=share, bound=bound)


def preflight(results: LaunchGate, bounds: GateSpec) -> Verdict:
    """The target machine can run it."""
    del bounds
    return Verdict(not results.preflight, results.preflight or "the machine can run it")


def hours(results: LaunchGate, bounds: GateSpec) -> Verdict:
    """The training is short enough."""
    return _spent(results.hours, bounds.hours, "hours", lambda hours: f"{hours:,.1f} hours of training")


def dollars(results: LaunchGate, bounds: GateSpec) -> Verdict:
    """The training is cheap enough."""
    return _spent(results.dollars, bounds.dollars, "dollars", lambda price: f"${price:,.0f} for the GPUs")


def _at_most(value: float, bound: float | None, said: Callable[[float], str]) -> Verdict:
    return Verdict(bound is None or value <= bound, said(value), value=value, bound=bound)


def _spent(value: float | None, bound: float | None, unit: str, said: Callable[[float], str]) -> Verdict:
    if value is None:
        return Verdict(bound is None, f"the {unit} are not known", bound=bound)
    return _at_most(value, bound, said)


def _free() -> Verdict:
    return Verdict(True, "no condition")
