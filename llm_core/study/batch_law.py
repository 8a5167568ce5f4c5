"""The stage ``batch_law``: the batch at which larger ones stop to pay, from the gradients of the study's runs.

The noise scale (McCandlish et al., 2018) of each trunk's last steps is checked against runs with larger batches. It
grows with the amount of text rather than with the size of the model (Zhang et al., 2024; Merrill et al., 2025), so its
power law over tokens is extrapolated to the launched run.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.stats import norm

from llm_core.errors import PedigreeError
from llm_core.graph.job import Job
from llm_core.graph.stage import Verdict
from llm_core.science.gradient_noise import NoiseScale, noise_scale
from llm_core.study.inputs import losses, trained
from llm_core.study.results import BatchLaw, NoiseLaw
from llm_core.study.study_run import StudyRun
from llm_core.train.metrics_log import METRICS, read_metrics

POWER, POWER_SD = 0.5, 0.2
"""The prior of the exponent of tokens (Zhang et al., 2024: 0.47; Merrill et al., 2025: about 0.5)."""
SCATTER = 0.3
"""Standard deviation of the logarithm of a noise scale about the law."""
LAST = 0.5
"""The share of a trunk's steps, at its end, whose gradients are used."""


def build(
    job: Job, trunks: Sequence[StudyRun], batch_runs: Sequence[StudyRun], sequence_length: int, tokens: int, batch: int
) -> BatchLaw:
    """``batch_runs``: runs with larger batches, each after the run with its size's own batch. ``tokens``, ``batch``: of
    the launched run, in tokens."""
    rows, found = [], []
    for run in trunks:
        scale = _scale(job, run, sequence_length)
        rows.append({"role": run.role, "width": run.width, "tokens": run.tokens, **_row(scale)})
        if not isinstance(scale, str):
            found.append((run.tokens, scale))
    low, middle, high = _extrapolated(found, tokens) if found else (None, None, None)
    return BatchLaw(
        scales=rows,
        launched=batch,
        critical=middle,
        critical_low=low,
        critical_high=high,
        checks=_checks(job, batch_runs),
    )


def _scale(job: Job, run: StudyRun, sequence_length: int) -> NoiseScale | str:
    """The noise scale in tokens; or why there is none."""
    records = read_metrics(job.path(run.role, METRICS))
    records = [row for row in records[round(len(records) * (1 - LAST)) :] if row.get("micro_grad_norm") is not None]
    if not records:
        return "its batch was one micro-batch; lower compute.micro_batch"
    micro = trained(job, run).compute["micro_batch"] * sequence_length
    try:
        return noise_scale(
            [row["micro_grad_norm"] ** 2 for row in records],
            [row["grad_norm"] ** 2 for row in records],
            micro,
            run.batch,
        )
    except PedigreeError as error:
        return str(error)


def _row(scale: NoiseScale | str) -> dict[str, Any]:
    if isinstance(scale, str):
        return {"batch": None, "why": scale}
    return {"batch": scale.batch, "low": scale.low, "high": scale.high}


def _extrapolated(found: Sequence[tuple[int, NoiseScale]], tokens: int) -> tuple[float, float, float]:
    """Low end, middle and high end of the 90% interval at ``tokens``."""
    distance = np.log([seen / tokens for seen, _ in found])
    errors = np.array([np.log(scale.high / scale.low) / (2 * norm.ppf(0.95)) for _, scale in found])
    rows = np.stack([np.ones(len(found)), distance], axis=1)
    weights = 1 / (errors**2 + SCATTER**2)
    covariance = np.linalg.inv(rows.T @ (weights[:, None] * rows) + np.diag([1e-6, POWER_SD**-2.0]))
    prior = np.array([0.0, POWER / POWER_SD**2])
    line = covariance @ (rows.T @ (weights * np.log([scale.batch for _, scale in found])) + prior)
    reach = float(norm.ppf(0.95)) * float(np.sqrt(covariance[0, 0]))
    low, middle, high = np.exp([line[0] - reach, line[0], line[0] + reach]).tolist()
    return low, middle, high


def _checks(job: Job, runs: Sequence[StudyRun]) -> list[dict[str, Any]]:
    """What larger batches cost: the share of the loss, with the standard deviation of a pair of runs."""
    noise = job.inputs["noise_law"].results(NoiseLaw).sd
    rows: list[dict[str, Any]] = []
    usual: dict[int, tuple[int, float]] = {}
    for run, loss in zip(runs, losses(job, runs), strict=True):
        usual.setdefault(run.width, (run.batch, loss))
        batch, baseline = usual[run.width]
        if run.batch != batch:
            cost = float(np.log(loss / baseline))
            sd = noise and noise * 2**0.5
            rows.append({"width": run.width, "batch": run.batch, "times": run.batch / batch, "cost": cost, "sd": sd})
    return rows


def batch_below_critical(results: BatchLaw, bounds: None) -> Verdict:
    """The launched batch is not above the critical one."""
    del bounds
    if results.critical is None or results.critical_high is None:
        return Verdict(False, f"the critical batch is not known: {results.unknown}")
    message = f"batches of {results.launched:,} tokens; larger ones stop to pay at about {results.critical:,.0f}"
    return Verdict(
        results.launched <= results.critical_high, message, value=results.launched, bound=results.critical_high
    )
