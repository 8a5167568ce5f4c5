"""The stage ``noise_law``: the noise of the loss between seeds, and its parts.

A seed changes the initial weights and the order of data. Runs with the same initial weights and other orders show the
part of the order; what is left is that of the weights. The losses of single validation windows show how much of it
comes from the length of the held-out text.
"""

from collections import defaultdict
from collections.abc import Sequence
from itertools import combinations, groupby
from typing import Any

import numpy as np
from scipy.stats import chi2

from llm_core.graph.job import Job
from llm_core.graph.stage import Verdict
from llm_core.intervals import clustered_mean
from llm_core.science.runs import Floats
from llm_core.study.inputs import Windows, losses, windows
from llm_core.study.ladder import StudyRun
from llm_core.study.results import NoiseLaw


def build(job: Job, runs: Sequence[StudyRun], orders: Sequence[StudyRun]) -> NoiseLaw:
    """Pool the variance between seeds over all sizes and budgets that have several.

    Budgets of one trunk share most of their steps, so a size's budgets count as one sample: their variances are
    averaged, and the degrees of freedom are those of its seeds. ``orders``: runs with other orders, and those with
    the same initial weights.
    """
    between_seeds, between_orders = _by_width(job, runs), _by_width(job, orders)
    text, shared = _text(job, runs)
    total = sum(freedom for _, freedom in between_seeds.values())
    pooled = sum(freedom * variance for variance, freedom in between_seeds.values()) / total if total else None
    whole = {"sd": None, "low": None, "high": None, "freedom": 0} if pooled is None else _noise(pooled, total)
    return NoiseLaw(
        **whole,
        by_width={str(width): _noise(*found) for width, found in between_seeds.items()},
        orders={str(width): _noise(*found) for width, found in between_orders.items()},
        weights={
            str(width): float(np.sqrt(max(0.0, between_seeds[width][0] - variance)))
            for width, (variance, _) in between_orders.items()
            if width in between_seeds
        },
        text=text,
        text_between_seeds=shared,
    )


def _by_width(job: Job, runs: Sequence[StudyRun]) -> dict[int, tuple[float, int]]:
    """Width → the variance of the logarithm of the loss between its runs of equal length, and degrees of freedom."""
    groups: dict[tuple[int, int], list[float]] = defaultdict(list)
    for run, loss in zip(runs, losses(job, runs), strict=True):
        if np.isfinite(loss):
            groups[run.width, run.steps].append(float(np.log(loss)))
    found: dict[int, list[tuple[float, int]]] = defaultdict(list)
    for (width, _), values in groups.items():
        if len(values) > 1:
            found[width].append((float(np.var(values, ddof=1)), len(values) - 1))
    return {
        width: (float(np.mean([variance for variance, _ in budgets])), min(freedom for _, freedom in budgets))
        for width, budgets in found.items()
    }


def _text(job: Job, runs: Sequence[StudyRun]) -> tuple[dict[str, float], dict[str, float]]:
    """``NoiseLaw.text`` and ``NoiseLaw.text_between_seeds``, from the last budget of each width."""
    text, between = {}, {}
    for width, of_width in groupby(sorted(runs, key=lambda run: run.width), lambda run: run.width):
        sized = list(of_width)
        last = max(run.steps for run in sized)
        kept = [windows(job, run) for run in sized if run.steps == last]
        found = [one for one in kept if one is not None and len(set(one.documents)) > 1]
        if found:
            text[str(width)] = float(np.sqrt(np.mean([_error(one, one.shares) ** 2 for one in found])))
        if len(found) > 1:
            pairs = [_error(one, one.shares - other.shares) ** 2 / 2 for one, other in combinations(found, 2)]
            between[str(width)] = float(np.sqrt(np.mean(pairs)))
    return text, between


def _error(of: Windows, values: Floats) -> float:
    return clustered_mean(values, of.documents, of.sizes).stderr


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
