"""The stage ``rate_law``: the best learning rates of the sweeps, and what they say about the launched rate.

Rates are multiples of each size's own, which the study derives from the launched rate. Where the rule of the study is
right, the best multiple is the same at all sizes. Its slope over the sizes is extrapolated to the launched one.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.stats import norm

from llm_core.errors import PedigreeError
from llm_core.graph.job import Job
from llm_core.graph.stage import Verdict
from llm_core.science.learning_rate import BestRate, averaged, best_rate
from llm_core.study.inputs import losses
from llm_core.study.results import NoiseLaw, RateStudy
from llm_core.study.study_run import StudyRun

SLOPE_SD = 0.15
"""The prior of the slope: standard deviation of the logarithm of the best multiple per e-fold of width. The rule of the
study is expected to be right; two sizes with a noisy best rate could not say otherwise."""
SCATTER = 0.1
"""Standard deviation of the logarithm of a best multiple about the line, beyond its own error."""
USUAL_NOISE = 0.003


def build(job: Job, runs: Sequence[StudyRun], width: int, rate: float) -> RateStudy:
    """``runs``: those of the sweeps. ``width``, ``rate``: of the launched run."""
    noise = job.inputs["noise_law"].results(NoiseLaw).sd or USUAL_NOISE
    sweeps: dict[int, list[list[float]]] = defaultdict(lambda: [[], []])
    for run, loss in zip(runs, losses(job, runs), strict=True):
        sweeps[run.width][0].append(run.multiple)
        sweeps[run.width][1].append(float(np.log(loss)))
    found = {size: _best(size, rates, logs, noise) for size, (rates, logs) in sweeps.items()}
    rows = [_row(size, best, *sweeps[size]) for size, best in found.items()]
    at_edge = [size for size, best in found.items() if best.at_edge]
    expected = _launched({size: best for size, best in found.items() if not best.at_edge}, width)
    if expected is None:
        return RateStudy(
            sweeps=rows,
            noise=noise,
            regret=None,
            best_rate=None,
            best_rate_low=None,
            best_rate_high=None,
            at_edge=at_edge,
        )
    log, sd = expected
    reach = float(norm.ppf(0.95)) * sd
    curvature = float(np.median([best.curvature for best in found.values() if not best.at_edge]))
    return RateStudy(
        sweeps=rows,
        noise=noise,
        regret=curvature / 2 * (log**2 + sd**2),
        best_rate=rate * float(np.exp(log)),
        best_rate_low=rate * float(np.exp(log - reach)),
        best_rate_high=rate * float(np.exp(log + reach)),
        at_edge=at_edge,
    )


def _best(width: int, multiples: list[float], logs: list[float], noise: float) -> BestRate:
    """The best rate of a sweep. Where so many runs diverged that two are left, it is only known to lie at an edge of
    them."""
    different, means, _ = averaged(multiples, logs)
    finite = sorted((log, multiple) for multiple, log in zip(different, means, strict=True) if np.isfinite(log))
    if not finite:
        raise PedigreeError(f"rate_law: all runs of the sweep at width {width} diverged; take lower rates")
    if len(finite) < 3:
        return BestRate(float(finite[0][1]), np.inf, float(finite[0][0]), 0.0, True)
    return best_rate(multiples, logs, noise)


def _row(width: int, best: BestRate, multiples: list[float], logs: list[float]) -> dict[str, Any]:
    points = [(float(multiple), log) for multiple, log in zip(*averaged(multiples, logs)[:2], strict=True)]
    return {
        "width": width,
        "points": [[multiple, float(np.exp(log)) if np.isfinite(log) else None] for multiple, log in points],
        "multiple": best.rate,
        "log_sd": None if np.isinf(best.log_sd) else best.log_sd,
        "regret": best.regret(1.0),
        "loss": float(np.exp(best.loss)),
        "curvature": best.curvature,
        "at_edge": best.at_edge,
    }


def _launched(found: dict[int, BestRate], width: int) -> tuple[float, float] | None:
    """The logarithm of the best multiple at the launched width, and its standard error; None without a sweep."""
    if not found:
        return None
    distance = np.log([size / width for size in found])
    rows = np.stack([np.ones(len(found)), distance], axis=1)
    weights = 1 / (np.array([best.log_sd for best in found.values()]) ** 2 + SCATTER**2)
    covariance = np.linalg.inv(rows.T @ (weights[:, None] * rows) + np.diag([1e-6, SLOPE_SD**-2.0]))
    line = covariance @ (rows.T @ (weights * np.log([best.rate for best in found.values()])))
    return float(line[0]), float(np.sqrt(covariance[0, 0] + SCATTER**2))


def best_rates_inside(results: RateStudy, bounds: None) -> Verdict:
    """Every sweep has its best rate inside the rates that were tried."""
    del bounds
    if not results.sweeps:
        return Verdict(False, "no size has a sweep; give sizes: rates")
    edges = ", ".join(map(str, results.at_edge))
    return Verdict(
        not edges,
        f"at an edge of the sweep, or the sweep is flat, at width {edges}"
        if edges
        else "every best rate is inside its sweep",
    )
