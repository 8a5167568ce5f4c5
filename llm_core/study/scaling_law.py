"""The stage ``scaling_law``: the loss as a function of parameters and tokens."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from statistics import fmean
from typing import Any

import numpy as np

from llm_core.errors import PedigreeError
from llm_core.experiment.study import GateSpec
from llm_core.graph.job import Job
from llm_core.graph.stage import Verdict
from llm_core.science.extrapolation import Backtest, backtests, drift
from llm_core.science.loss_law import LossLaw, fit
from llm_core.science.runs import Runs
from llm_core.study.inputs import columns, losses
from llm_core.study.results import POINTS, NoiseLaw, ScalingLaw
from llm_core.study.study_run import StudyRun

_INTERVAL = 1.645


def build(job: Job, runs: Sequence[StudyRun]) -> ScalingLaw:
    """Fit the law. ``PedigreeError`` when there are too few finite runs, sizes or budgets."""
    loss = losses(job, runs)
    finite = np.isfinite(loss)
    good = [run for run, fine in zip(runs, finite, strict=True) if fine]
    table = columns(good, loss[finite])
    law = fit(table)
    kaplan = None
    with suppress(PedigreeError):
        kaplan = fit(table, "kaplan").exponents
    tests = backtests(table)
    noise = max(job.inputs["noise_law"].results(NoiseLaw).sd or 0.0, law.run_sd)
    step = drift(tests)
    inside: dict[int, list[bool]] = defaultdict(list)
    for test in tests:
        for place, within in zip(test.places, _covered(table, test), strict=True):
            inside[int(place)].append(within)
    expected = law.loss(table.parameters, table.tokens)
    rows = [
        {**run.model_dump(), "loss": float(found), "expected": float(mean), "excluded": bool(out)}
        for run, found, mean, out in zip(good, table.loss, expected, law.excluded, strict=True)
    ]
    (job.out / POINTS).write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    (alpha, beta), (alpha_sd, beta_sd) = law.exponents, law.exponents_sd
    return ScalingLaw(
        runs=len(good),
        excluded=[run.role for run, out in zip(good, law.excluded, strict=True) if out],
        diverged=[run.role for run, fine in zip(runs, finite, strict=True) if not fine],
        floor=law.floor,
        alpha=alpha,
        alpha_sd=alpha_sd,
        beta=beta,
        beta_sd=beta_sd,
        coefficients=list(law.coefficients),
        kaplan_alpha=kaplan and kaplan[0],
        kaplan_beta=kaplan and kaplan[1],
        noise=law.noise,
        trunk_noise=law.trunk_noise,
        drift=step,
        forecast_runs=len(inside),
        coverage=fmean(fmean(found) for found in inside.values()) if inside else None,
        law={**plain(law), "run_sd": noise},
    )


def _covered(runs: Runs, test: Backtest) -> list[bool]:
    """Whether each run of a backtest lay within its 90% interval, as it was known from the smaller runs alone: their
    own backtests give its drift."""
    step = drift(backtests(runs.chosen(runs.flops <= test.below)))
    reach = _INTERVAL * np.sqrt(test.sd**2 + (step * test.distance) ** 2)
    return (np.abs(test.errors) <= reach).tolist()


def plain(law: LossLaw) -> dict[str, Any]:
    """The law as JSON, for ``law_of``."""
    return {
        "form": law.form,
        "point": law.point.tolist(),
        "covariance": law.covariance.tolist(),
        "centre": list(law.centre),
        "noise": law.noise,
        "trunk_noise": law.trunk_noise,
        "size_noise": law.size_noise,
        "reach": law.reach,
    }


def law_of(plain: Mapping[str, Any]) -> LossLaw:
    """The law from its JSON form. Which runs were excluded is not in it."""
    return LossLaw(
        plain["form"],
        np.array(plain["point"]),
        np.array(plain["covariance"]),
        tuple(plain["centre"]),
        plain["noise"],
        plain["trunk_noise"],
        plain["size_noise"],
        np.zeros(0, bool),
        plain["reach"],
    )


def all_runs_good(results: ScalingLaw, bounds: GateSpec) -> Verdict:
    """No run diverged, and all fit the law."""
    del bounds
    bad = [*results.diverged, *results.excluded]
    return Verdict(not bad, f"{', '.join(bad)} diverged or do not fit the law" if bad else "all runs fit the law")
