"""The stage ``noise_law``: the noise of the loss between seeds."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.stats import chi2

from llm_core.graph.job import Job
from llm_core.graph.stage import Verdict
from llm_core.science.seed_noise import SeedNoise, by_size, pooled
from llm_core.study.inputs import losses
from llm_core.study.ladder import StudyRun
from llm_core.study.results import NoiseLaw


def build(job: Job, runs: Sequence[StudyRun]) -> NoiseLaw:
    """Pool the variance between seeds over all sizes and budgets that have several."""
    found = by_size(
        (run.width, run.steps, float(np.log(loss)))
        for run, loss in zip(runs, losses(job, runs), strict=True)
        if np.isfinite(loss)
    )
    over_all = pooled(found.values())
    if over_all is None:
        return NoiseLaw(sd=None, low=None, high=None, freedom=0, by_width={})
    return NoiseLaw(**_noise(over_all), by_width={str(width): _noise(noise) for width, noise in found.items()})


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
