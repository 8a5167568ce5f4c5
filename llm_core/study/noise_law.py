"""The stage ``noise_law``: the noise of the loss between seeds, and its parts.

A seed changes the initial weights and the order of data. Runs with the same initial weights and other orders show the
part of the order; what is left is that of the weights. The losses of single validation windows show how much of it
comes from the length of the held-out text.
"""

from collections.abc import Hashable, Sequence
from itertools import combinations, groupby
from typing import Any

import numpy as np
from scipy.stats import chi2

from llm_core.graph.job import Job
from llm_core.graph.stage import Verdict
from llm_core.intervals import clustered_mean
from llm_core.science.runs import Floats
from llm_core.science.seed_noise import SeedNoise, by_size, pooled
from llm_core.study.inputs import Windows, losses, windows
from llm_core.study.results import NoiseLaw
from llm_core.study.study_run import StudyRun


def build(job: Job, runs: Sequence[StudyRun], orders: Sequence[StudyRun]) -> NoiseLaw:
    """Pool the variance between seeds over all sizes and budgets that have several.

    ``orders``: runs with other orders, and those with the same initial weights.
    """
    between_seeds, between_orders = _between(job, runs), _between(job, orders)
    text, shared = _text(job, runs)
    over_all = pooled(between_seeds.values())
    whole = {"sd": None, "low": None, "high": None, "freedom": 0} if over_all is None else _noise(over_all)
    return NoiseLaw(
        **whole,
        by_width={str(width): _noise(noise) for width, noise in between_seeds.items()},
        orders={str(width): _noise(noise) for width, noise in between_orders.items()},
        weights={
            str(width): float(np.sqrt(max(0.0, between_seeds[width].variance - noise.variance)))
            for width, noise in between_orders.items()
            if width in between_seeds
        },
        text=text,
        text_between_seeds=shared,
    )


def _between(job: Job, runs: Sequence[StudyRun]) -> dict[Hashable, SeedNoise]:
    """Width → the noise of the logarithm of the loss between its runs of equal length."""
    return by_size(
        (run.width, run.steps, float(np.log(loss)))
        for run, loss in zip(runs, losses(job, runs), strict=True)
        if np.isfinite(loss)
    )


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


def _noise(noise: SeedNoise) -> dict[str, Any]:
    """The standard deviation with its 90% interval."""
    freedom = noise.freedom
    low, high = (noise.sd * float(np.sqrt(freedom / chi2.ppf(share, freedom))) for share in (0.95, 0.05))
    return {"sd": noise.sd, "low": low, "high": high, "freedom": freedom}


def seeds_repeated(results: NoiseLaw, bounds: None) -> Verdict:
    """Some size was trained with several seeds."""
    del bounds
    known = results.sd is not None
    message = f"{results.sd:.2%} of the loss between seeds" if known else "no size has several seeds; give sizes: seeds"
    return Verdict(known, message, value=results.sd)
