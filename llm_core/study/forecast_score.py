"""The stage ``forecast_score``: the forecast with which the full run was launched, beside its result."""

from collections.abc import Mapping, Sequence
from typing import Any

from llm_core.errors import PedigreeError
from llm_core.graph.job import Job
from llm_core.graph.stage import Verdict
from llm_core.study.results import ForecastScore, LaunchGate
from llm_core.study.suites import rows_of
from llm_core.train.results import TrainingResults

EVALUATED = "eval_results"
"""The optional input: the evaluation of the run."""


def build(job: Job, gate: str) -> ForecastScore:
    """Read the forecast from the manifest of the run, where it was sealed when the run began. ``gate``: the stage that
    had it.

    ``PedigreeError`` for a run that was launched without a forecast, or has no finite loss per byte.
    """
    run = job.inputs["pretrained_model"]
    loss = run.results(TrainingResults).final_validation_bits_per_byte
    if loss is None:
        raise PedigreeError(f"{job.stage}: the run has no finite held-out loss, so its forecast can't be scored")
    record = next((record for record in run.manifest.gates if record.stage == gate), None)
    if record is None:
        raise PedigreeError(
            f"{job.stage}: {run.manifest.stage} was launched without a forecast (before there was a study "
            "with a gate), so there is nothing to score"
        )
    sealed = LaunchGate.model_validate(record.results)
    return ForecastScore(
        forecast=sealed.forecast,
        low=sealed.low,
        high=sealed.high,
        loss=loss,
        error=loss / sealed.forecast - 1,
        within=sealed.low <= loss <= sealed.high,
        beyond=sealed.beyond,
        made=record.made,
        suites=_scored(sealed.suites, rows_of(job.inputs[EVALUATED].path)) if EVALUATED in job.inputs else [],
    )


def _scored(
    told: Sequence[Mapping[str, Any]], found: Mapping[tuple[str, str], Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Forecasts beside the scores; those without a forecast or a score are left out."""
    rows = []
    for row in told:
        scored = found.get((row["task"], row["metric"]))
        if row["forecast"] is not None and scored is not None:
            rows.append({**row, "value": scored["value"], "within": row["low"] <= scored["value"] <= row["high"]})
    return rows


def within_interval(results: ForecastScore, bounds: None) -> Verdict:
    """The result lies within the forecast's interval."""
    del bounds
    forecast = f"{results.forecast:.4f} ({results.low:.4f} to {results.high:.4f}), made on {results.made}"
    return Verdict(results.within, f"{results.loss:.4f} bits per byte; forecast {forecast}", value=results.loss)


def suites_within_intervals(results: ForecastScore, bounds: None) -> Verdict:
    """The scores on the suites lie within their intervals."""
    del bounds
    outside = [f"{row['task']} ({row['metric']})" for row in results.suites if not row["within"]]
    count = len(results.suites)
    message = f"{count - len(outside)} of {count} suite scores lie within their intervals"
    return Verdict(not outside, f"{message}; outside: {', '.join(outside)}" if outside else message, len(outside))
