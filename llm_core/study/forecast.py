"""The stage ``forecast``: what the full run will reach, with an interval, before it is launched."""

from collections.abc import Sequence

import numpy as np
from scipy.optimize import minimize_scalar

from llm_core.graph.job import Job
from llm_core.graph.stage import Verdict
from llm_core.science.extrapolation import interval
from llm_core.science.loss_law import LossLaw
from llm_core.study.inputs import losses, trained
from llm_core.study.results import Forecast, ScalingLaw
from llm_core.study.scaling_law import law_of
from llm_core.study.study_run import StudyRun
from llm_core.train.preflight import run_hours
from llm_core.train.this_machine import hardware_of

FAR = 300.0
"""Beyond so many times the FLOPs of the largest run, no backtest of this project says how good a forecast is."""
WAY = (0.25, 0.5, 0.75)
"""The shares of the steps at which the curve has a band."""


def build(
    job: Job,
    launched: StudyRun,
    cooldown_steps: int,
    precision: str,
    runs: Sequence[StudyRun],
    trunks: Sequence[StudyRun],
    study_flops: int,
) -> Forecast:
    """``launched``: the full run, without a role. ``runs``, ``trunks``: see ``Ladder``."""
    results = job.inputs["scaling_law"].results(ScalingLaw)
    law = law_of(results.law)
    end = _interval(law, results, launched.parameters, launched.tokens, launched.flops)
    hours, dollars = _cost(job, launched, runs, precision)
    parameters, tokens = optimum(law, launched)
    return Forecast(
        loss=end[0],
        low=end[1],
        high=end[2],
        half_width=(end[2] - end[1]) / (2 * end[0]),
        beyond=launched.flops / law.reach,
        curve=_curve(job, law, results, launched, cooldown_steps, trunks),
        flops=launched.flops,
        study_flops=study_flops,
        optimal_parameters=parameters,
        optimal_tokens=tokens,
        hours=hours,
        dollars=dollars,
    )


def not_too_far(results: Forecast, bounds: None) -> Verdict:
    """The full run is near enough to the study."""
    del bounds
    message = f"the full run has {results.beyond:,.0f} times the FLOPs of the study's largest run"
    return Verdict(results.beyond <= FAR, message, value=results.beyond, bound=FAR)


def _interval(
    law: LossLaw, results: ScalingLaw, parameters: float, tokens: float, flops: float, more_sd: float = 0.0
) -> tuple[float, float, float]:
    own = law.run_sd
    noise = float(np.sqrt(max(results.law["run_sd"], own) ** 2 - own**2 + more_sd**2))
    found = interval(law, parameters, tokens, flops, results.drift, more_sd=noise)
    return float(found.loss[0]), float(found.low[0]), float(found.high[0])


def _curve(
    job: Job,
    law: LossLaw,
    results: ScalingLaw,
    launched: StudyRun,
    cooldown_steps: int,
    trunks: Sequence[StudyRun],
) -> list[dict[str, float]]:
    """At a constant rate the loss is above the law, which is about cooled-down runs. The trunks of the study say by how
    much: the mean of the logarithm of the ratio, and its standard deviation."""
    above = np.log(losses(job, trunks)) - law.log_loss(
        [run.parameters for run in trunks], [run.tokens for run in trunks]
    )
    above = above[np.isfinite(above)]
    if len(above) < 2:
        return []
    mean, sd = float(above.mean()), float(above.std(ddof=1))
    rows = []
    for share in WAY:
        step = round(share * launched.steps)
        if step <= launched.steps - cooldown_steps:
            done = step / launched.steps
            size = launched.parameters, launched.tokens * done, launched.flops * done
            band = np.array(_interval(law, results, *size, sd)) * np.exp(mean)
            rows.append(
                {"share": share, "step": step, **dict(zip(("loss", "low", "high"), band.tolist(), strict=True))}
            )
    return rows


def optimum(law: LossLaw, launched: StudyRun) -> tuple[float, float]:
    """The parameters and tokens with the lowest expected loss for the FLOPs of ``launched``, at 6 FLOPs per parameter
    and token."""
    compute = launched.flops / 6
    logs = np.log(launched.parameters) + np.array([-7.0, 7.0])
    found = minimize_scalar(
        lambda log: float(law.log_loss(np.exp(log), compute / np.exp(log))[0]), bounds=tuple(logs), method="bounded"
    )
    parameters = float(np.exp(found.x))
    return parameters, compute / parameters


def _cost(job: Job, launched: StudyRun, runs: Sequence[StudyRun], precision: str) -> tuple[float | None, float | None]:
    """Hours and dollars of the full run: by the peak of its machine, or (on a CPU) by the speed of the study's largest
    run, if it ran there."""
    compute = job.runtime.compute
    hardware = hardware_of(compute)
    ranks = compute.ranks or hardware.devices
    hours = run_hours(launched.flops, compute, hardware, ranks, precision)
    if hours is None:
        largest = max(runs, key=lambda run: run.flops)
        speed = trained(job, largest).tokens_per_second * largest.flops / largest.tokens
        return (launched.flops / speed / 3600 if speed else None), None
    known = compute.price_per_gpu_hour > 0
    return hours, hours * ranks * compute.price_per_gpu_hour if known else None
