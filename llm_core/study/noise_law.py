"""The stage ``noise_law``: the noise of the loss between seeds."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.stats import chi2

from llm_core.graph.job import Job
from llm_core.graph.stage import Verdict
from llm_core.study.inputs import losses
from llm_core.study.ladder import StudyRun
from llm_core.study.results import NoiseLaw


def build(job: Job, runs: Sequence[StudyRun]) -> NoiseLaw:
    """Pool the variance between seeds over all sizes and budgets that have several.

    Budgets of one trunk share most of their steps, so a size's budgets count as one sample: their variances are
    averaged, and the degrees of freedom are those of its seeds.
    """
    groups: dict[tuple[int, int], list[float]] = defaultdict(list)
    for run, loss in zip(runs, losses(job, runs), strict=True):
        if np.isfinite(loss):
            groups[run.width, run.steps].append(float(np.log(loss)))
    variances: dict[int, list[float]] = defaultdict(list)
    freedoms: dict[int, list[int]] = defaultdict(list)
    for (width, _), values in groups.items():
        if len(values) > 1:
            variances[width].append(float(np.var(values, ddof=1)))
            freedoms[width].append(len(values) - 1)
    freedom = {width: min(found) for width, found in freedoms.items()}
    total = sum(freedom.values())
    if not total:
        return NoiseLaw(sd=None, low=None, high=None, freedom=0, by_width={})
    pooled = sum(freedom[width] * np.mean(found) for width, found in variances.items()) / total
    by_width = {str(width): _noise(float(np.mean(found)), freedom[width]) for width, found in variances.items()}
    return NoiseLaw(**_noise(float(pooled), total), by_width=by_width)


def _noise(variance: float, freedom: int) -> dict[str, Any]:
    """The standard deviation with its 90% interval."""
    low, high = (float(np.sqrt(freedom * variance / chi2.ppf(share, freedom))) for share in (0.95, 0.05))
    return {"sd": float(np.sqrt(variance)), "low": low, "high": high, "freedom": freedom}


def seeds_repeated(results: NoiseLaw, bounds: None) -> Verdict:
    """Some size was trained with several seeds."""
    del bounds
    known = results.sd is not None
    message = f"{results.sd:.2%} of the loss between seeds" if known else "no size has several seeds; give sizes: seeds"
    return Verdict(known, message, value=results.sd)
