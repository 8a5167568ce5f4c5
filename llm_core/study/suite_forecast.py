"""The stage ``suite_forecast``: the full run's scores on the suites, before it is launched."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from llm_core.errors import PedigreeError
from llm_core.graph.job import Job
from llm_core.graph.stage import Verdict
from llm_core.science.suite_law import accuracy, gold_bits
from llm_core.study.inputs import columns, losses
from llm_core.study.results import Forecast, SuiteForecast
from llm_core.study.study_run import StudyRun
from llm_core.study.suites import BITS, Scores, suite_scores

LEAST_ABOVE = 2
"""Runs above chance, without which an accuracy is not forecast."""
WITHOUT_BITS = "no answer is the right one, so there are no bits per byte to forecast it from"
_INTERVAL = 1.645


def build(job: Job, runs: Sequence[StudyRun]) -> SuiteForecast:
    """Forecast the bits per byte of the gold answers from the forecast of the held-out loss, and the accuracies from
    the bits. ``runs``: those that were evaluated."""
    told = job.inputs["forecast"].results(Forecast)
    loss = losses(job, runs)
    finite = np.isfinite(loss)
    table = columns([run for run, fine in zip(runs, finite, strict=True) if fine], loss[finite])
    scores = suite_scores(job, runs)
    forecast_from = {found.task for found in scores if found.metric == BITS}
    rows = [_row(found, reason=WITHOUT_BITS) for found in scores if found.task not in forecast_from]
    for of_bits in [found for found in scores if found.metric == BITS]:
        bits = of_bits.values[finite]
        sd = float(np.log(told.high / told.low)) / (2 * _INTERVAL)
        own = [found for found in scores if found.task == of_bits.task and found.metric != BITS]
        try:
            at = gold_bits(table.loss, bits, table.trunks, float(np.log(told.loss)), sd)
        except PedigreeError as error:
            rows += [_row(found, reason=str(error)) for found in (of_bits, *own)]
            continue
        rows.append(_row(of_bits, *at.prediction))
        for found in own:
            above = sum(np.array(found.above)[finite])
            if above < LEAST_ABOVE:
                rows.append(
                    _row(found, reason=f"{above} of {len(bits)} runs are above chance; a forecast takes {LEAST_ABOVE}")
                )
                continue
            chance = found.chance or 0.0
            expected = accuracy(bits, found.values[finite], table.trunks, chance, found.items, at)
            rows.append(_row(found, *expected))
    return SuiteForecast(rows=rows)


def _row(
    scores: Scores,
    expected: float | None = None,
    low: float | None = None,
    high: float | None = None,
    reason: str = "",
) -> dict[str, Any]:
    return {
        "task": scores.task,
        "metric": scores.metric,
        "chance": scores.chance,
        "forecast": expected,
        "low": low,
        "high": high,
        "reason": reason,
    }


def all_forecast(results: SuiteForecast, bounds: None) -> Verdict:
    """Every score has a forecast."""
    del bounds
    missing = sorted({row["task"] for row in results.rows if row["forecast"] is None})
    message = f"no forecast of some scores of {', '.join(missing)}" if missing else "every score has a forecast"
    return Verdict(not missing, message, value=len(missing))
