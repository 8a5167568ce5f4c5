"""The stage ``mixture_law``: the loss as a function of the weights of the sources, and the best weights.

All losses are of the same held-out text, in bits per byte, for each source by itself: those of a run's validation
windows, by the source that they are in.
"""

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import t

from llm_core.errors import PedigreeError
from llm_core.experiment.mixtures import MixturesSpec
from llm_core.graph.job import Job
from llm_core.graph.stage import Verdict
from llm_core.science.mixture_law import LEVEL, Best, Held, MixtureLaw, best_of, differ, fit_mixtures, held
from llm_core.science.runs import Floats
from llm_core.study.inputs import losses
from llm_core.study.results import MixtureStudy
from llm_core.study.size_recipe import mixed
from llm_core.study.study_run import StudyRun
from llm_core.train.validation_windows import WINDOWS

CANDIDATES = 4096
"""Mixtures among which the best one is searched."""

_EDGE = 0.005


@dataclass(frozen=True)
class _Table:
    """Finite runs. ``mixture``: its number, from 0; ``weights`` (runs, sources); ``losses`` (runs, sources), bits per
    byte of each source; ``target`` (sources,), adds to 1."""

    runs: list[StudyRun]
    mixture: np.ndarray
    held_out: np.ndarray
    weights: Floats
    losses: Floats
    target: Floats

    @property
    def total(self) -> Floats:
        return np.asarray(self.losses @ self.target)

    def tested(self) -> list[np.ndarray]:
        """The runs of each held-out mixture."""
        return [self.mixture == number for number in np.unique(self.mixture[self.held_out])]

    def noise(self) -> tuple[float, int]:
        """The standard deviation of the total between seeds, and its degrees of freedom (0: unknown)."""
        repeats = [self.total[rows] for rows in self.tested()]
        freedom = sum(len(values) - 1 for values in repeats)
        squares = sum(float(((values - values.mean()) ** 2).sum()) for values in repeats)
        return (math.sqrt(squares / freedom) if freedom else math.nan), freedom


def build(
    job: Job,
    runs: Sequence[StudyRun],
    mixtures: MixturesSpec,
    seed: int,
    tokens: int,
    launched: Mapping[str, float] | None,
) -> MixtureStudy:
    """Fit the law to the mixtures that are not held out, and test it on those that are.

    ``tokens``: of the full run; ``launched``: its weights, None where it reads all sources as one stream.
    ``PedigreeError`` where a source has no held-out window, or too many runs diverged.
    """
    shards = json.loads(job.path("token_shards", "shards.json").read_bytes())["splits"]
    finite = np.isfinite(losses(job, runs))
    table = _table(job, [run for run, fine in zip(runs, finite, strict=True) if fine], mixtures, seed, shards)
    there: Counter[str] = Counter()
    for shard in shards["train"]["shards"]:
        there[shard["source"]] += shard["tokens"]
    fitted = ~table.held_out
    law = fit_mixtures(table.weights[fitted], table.losses[fitted])
    judged = held(
        *(np.array([column[rows].mean() for rows in table.tested()]) for column in (_total(law, table), table.total))
    )
    noise, freedom = table.noise()
    firsts = table.total[[run.seed == seed for run in table.runs]]
    candidates = np.array(mixed(mixtures, seed, CANDIDATES))
    most = mixtures.max_epochs * np.array([there[source] for source in mixtures.sources])
    candidates = candidates[(candidates * tokens <= most).all(axis=1)]
    if not len(candidates):
        raise PedigreeError(
            f"{job.stage}: every mixture reads some source more than {mixtures.max_epochs:g} times in the full run: "
            "use more text, or set study.mixtures.most for small sources"
        )
    ours = _shares(launched or there, mixtures.sources)
    others = np.empty((0, len(mixtures.sources))) if ours is None else ours[None]
    best = best_of(candidates, others, table.weights[fitted], table.losses[fitted], table.target)
    mean = float(table.total.mean())
    lowest = float((law.losses(candidates[[best.place]]) @ table.target)[0])
    return MixtureStudy(
        sources=list(mixtures.sources),
        target=dict(zip(mixtures.sources, table.target.tolist(), strict=True)),
        rows=_rows(law, table),
        diverged=[run.role for run, fine in zip(runs, finite, strict=True) if not fine],
        parameters=table.runs[0].parameters,
        rank_correlation=judged.rank_correlation,
        p=judged.p,
        error=judged.error / mean,
        noise=noise / mean if freedom else None,
        spread=float(np.std(firsts, ddof=1)) / mean,
        best=(shares := _best(mixtures.sources, candidates, best)),
        at_edge=[
            source
            for source in mixtures.sources
            if shares["low"][source] <= mixtures.least + _EDGE
            or shares["high"][source] >= mixtures.most.get(source, 1.0) - _EDGE
        ],
        launched=None if ours is None else _against(mixtures.sources, ours, best, lowest),
        refusal=_refusal(mixtures, table, judged, firsts, noise, freedom),
    )


def _table(job: Job, runs: list[StudyRun], mixtures: MixturesSpec, seed: int, shards: Mapping[str, Any]) -> _Table:
    records = shards["heldout"]["shards"]
    names = [record["source"] for record in records]
    ends = np.cumsum([record["tokens"] for record in records])
    found, sizes = [], np.zeros(len(mixtures.sources))
    for run in runs:
        lines = job.path(run.role, WINDOWS).read_text(encoding="utf-8").splitlines()
        windows = [json.loads(line) for line in lines]
        middles = [window["start_token"] + window["tokens"] // 2 for window in windows]
        sources = [names[number] for number in np.searchsorted(ends, middles, side="right")]
        nats, sizes = (
            np.array(
                [
                    sum(window[name] for window, own in zip(windows, sources, strict=True) if own == source)
                    for source in mixtures.sources
                ],
                np.float64,
            )
            for name in ("text_nats", "bytes")
        )
        if missing := [source for source, size in zip(mixtures.sources, sizes, strict=True) if not size]:
            raise PedigreeError(
                f"{job.stage}: no validation window is in {', '.join(missing)}: raise training.validation_tokens and "
                f"run `pedigree run --force` for the runs of mixtures, or leave it out of study.mixtures.sources"
            )
        found.append(nats / math.log(2) / sizes)
    target = np.array([mixtures.target.get(source, 0.0) for source in mixtures.sources]) if mixtures.target else sizes
    weights = [[share for _, share in run.weights] for run in runs]
    numbers = {tuple(shares): number for number, shares in enumerate(mixed(mixtures, seed))}
    mixture = np.array([numbers[tuple(shares)] for shares in weights])
    held_out = mixture < mixtures.held_out
    if len(np.unique(mixture[held_out])) < 2:
        raise PedigreeError(f"{job.stage}: nearly all runs of the held-out mixtures diverged: lower the learning rate")
    return _Table(runs, mixture, held_out, np.array(weights), np.array(found), target / target.sum())


def _total(law: MixtureLaw, table: _Table) -> Floats:
    return np.asarray(law.losses(table.weights) @ table.target)


def _rows(law: MixtureLaw, table: _Table) -> list[dict[str, Any]]:
    columns = (table.runs, table.mixture.tolist(), table.held_out.tolist(), table.total.tolist(), table.losses.tolist())
    return [
        {
            "mixture": number + 1,
            "seed": run.seed,
            "weights": dict(run.weights),
            "held_out": out,
            "loss": loss,
            "expected": expected,
            "by_source": dict(zip(dict(run.weights), each, strict=True)),
        }
        for run, number, out, loss, each, expected in zip(*columns, _total(law, table).tolist(), strict=True)
    ]


def _shares(weights: Mapping[str, float], sources: Sequence[str]) -> Floats | None:
    """The launched weights as shares; None where the full run reads other sources."""
    if set(weights) - set(sources):
        return None
    shares = np.array([weights.get(source, 0.0) for source in sources])
    return np.asarray(shares / shares.sum())


def _best(sources: Sequence[str], candidates: Floats, best: Best) -> dict[str, dict[str, float]]:
    alike = candidates[best.alike[: len(candidates)]]
    columns = {"weights": candidates[best.place], "low": alike.min(axis=0), "high": alike.max(axis=0)}
    return {name: dict(zip(sources, column.tolist(), strict=True)) for name, column in columns.items()}


def _against(sources: Sequence[str], ours: Floats, best: Best, lowest: float) -> dict[str, Any]:
    behind, reach = best.behind[-1] / lowest, t.ppf(1 - LEVEL / 2, best.freedom) * best.behind_sd[-1] / lowest
    return {
        "weights": dict(zip(sources, ours.tolist(), strict=True)),
        "behind": float(behind),
        "low": float(behind - reach),
        "high": float(behind + reach),
    }


def _refusal(mixtures: MixturesSpec, table: _Table, judged: Held, firsts: Floats, noise: float, freedom: int) -> str:
    """Why the runs recommend no mixture; empty if they do."""
    parameters = table.runs[0].parameters
    if parameters < mixtures.least_parameters:
        return (
            f"the runs have {parameters:,} parameters, and runs below {mixtures.least_parameters:,} do not rank "
            "mixtures as larger models do"
        )
    if not freedom:
        return "the noise between seeds is not known, because too many runs of the held-out mixtures diverged"
    if not differ(firsts, noise, freedom):
        return (
            f"these runs do not rank mixtures: their losses differ by {np.std(firsts, ddof=1) / firsts.mean():.2%} "
            f"(one standard deviation), which is within the noise between seeds ({noise / firsts.mean():.2%})"
        )
    if judged.p > LEVEL:
        return (
            f"the law does not predict the held-out mixtures: the rank correlation is {judged.rank_correlation:.2f}, "
            f"which chance reaches in {judged.p:.0%} of cases"
        )
    return ""


def held_out_predicted(results: MixtureStudy, bounds: None) -> Verdict:
    """The law predicts mixtures that it has not seen, at a size that ranks mixtures."""
    del bounds
    message = (
        f"no mixture is recommended: {results.refusal}"
        if results.refusal
        else (f"rank correlation {results.rank_correlation:.2f} on the held-out mixtures")
    )
    return Verdict(not results.refusal, message, value=results.rank_correlation)
