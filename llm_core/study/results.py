"""The results of the stages of a study. Losses are held-out bits per byte."""

from typing import Any

from pydantic import Field

from llm_core.graph.results import Results, volatile

POINTS = "runs.json"
"""The file of ``scaling_law`` with the runs: parameters, tokens, FLOPs, loss, the law's loss, and whether it was left
out."""


class NoiseLaw(Results):
    """How much the loss differs between runs of other seeds, and its parts. All are shares of the loss."""

    sd: float | None
    """Standard deviation of a run's loss between seeds, as a share of the loss; pooled. None without repeats."""
    low: float | None
    high: float | None
    """The 90% interval of ``sd``."""
    freedom: int
    """Degrees of freedom of ``sd``: seeds beyond the first of each size."""
    by_width: dict[str, dict[str, float]]
    """Width → ``sd``, ``low``, ``high`` and ``freedom`` of its runs."""
    orders: dict[str, dict[str, float]]
    """The same between runs with the same initial weights and other orders of data, for widths that have some."""
    weights: dict[str, float]
    """Width → the standard deviation that is left for the initial weights: the variance between seeds less that between
    orders, at least 0."""
    text: dict[str, float]
    """Width → standard error of a run's loss on its held-out text, clustered by document: what another text of the same
    length would change. All runs of a study have the same text, so comparisons do not suffer from it."""
    text_between_seeds: dict[str, float]
    """Width → the part of the noise between seeds that comes from the length of the held-out text: seeds differ more in
    some documents than in others."""


class RateStudy(Results):
    """The best learning rates of the sweeps, and the launched rate beside them."""

    sweeps: list[dict[str, Any]]
    """Per width: the best rate as a multiple of the size's own, its standard error (of the logarithm), its regret (the
    share of the loss that the size's own rate loses against the best; None if unknown), and whether it is at an edge
    or the parabola is flat, so that the best rate is not known; the parabola's lowest loss and its curvature (of the
    logarithm of the loss by that of the rate); and the points: each multiple with its loss, which is None where the run
    diverged."""
    noise: float
    """The standard deviation between seeds, as a share of the loss, that the parabolas assume."""
    regret: float | None
    """The expected share of the loss that the launched rate loses, with the error of the best rate; None if unknown."""
    best_rate: float | None
    """The best rate for the launched size, by the sweeps."""
    best_rate_low: float | None
    best_rate_high: float | None
    """The 90% interval of ``best_rate``."""
    at_edge: list[int]
    """Widths whose best rate is not known: the lowest or the highest that was tried, or one of a flat parabola."""


class BatchLaw(Results):
    """The noise scale of the gradients. Batches are in tokens."""

    scales: list[dict[str, Any]] = volatile()
    """Per trunk: the noise scale with its 90% interval, or why there is none. Volatile, since micro-batches are a
    setting of the machine."""
    launched: int
    critical: float | None = volatile()
    """The noise scale at the end of the launched run, by the law."""
    critical_low: float | None = volatile()
    critical_high: float | None = volatile()
    checks: list[dict[str, Any]]
    """Runs with larger batches: the batch, how many times the size's own, what it cost as a share of the loss, and the
    standard deviation of that (None if unknown)."""

    @property
    def unknown(self) -> str:
        """Why the longest trunk has no noise scale."""
        longest = max(self.scales, key=lambda row: row["tokens"], default={"why": "there is no trunk"})
        return str(longest["why"])


class ScalingLaw(Results):
    """The loss as E + A/N^α + B/D^β (Hoffmann et al., 2022), fitted to the study's runs."""

    runs: int
    excluded: list[str]
    """Runs that were left out as outliers."""
    diverged: list[str]
    """Runs without a finite loss."""
    floor: float
    """E."""
    alpha: float
    alpha_sd: float
    beta: float
    beta_sd: float
    coefficients: list[float]
    """A and B."""
    kaplan_alpha: float | None
    kaplan_beta: float | None
    """Exponents of the form without E (Kaplan et al., 2020: 0.076 and 0.095)."""
    noise: float
    trunk_noise: float
    """Standard deviations of the loss's logarithm, within and between trunks."""
    drift: float
    """Standard deviation of the logarithm of the loss per e-fold of compute beyond the runs."""
    forecast_runs: int
    """Larger runs that laws of smaller ones forecast, in backtests."""
    coverage: float | None
    """The share of them within their 90% interval; None without backtests."""
    law: dict[str, Any]
    """The law's numbers, for the forecast."""


class Ablations(Results):
    """Ideas against the launched recipe. Differences are of the logarithm of the loss; below 0, the idea is better."""

    runs: int
    rows: list[dict[str, Any]]
    """Per width and idea: the difference with its 95% interval, the verdict, seeds, rates, ratios of parameters and
    FLOPs."""
    clocks: list[dict[str, Any]] = volatile()
    """Per width and idea: ratios of speed and memory, and the difference at equal time."""
    slopes: dict[str, float]
    """Idea → change of the difference per doubling of the width."""
    changes: dict[str, dict[str, Any]]
    """Idea → what it changes, as the study's configuration has it."""


class HeldoutCoverage(Results):
    """The held-out text of an idea with another tokenizer."""

    tokens: int
    """Held-out tokens, of the side with more of them."""


class MixtureStudy(Results):
    """The loss as a function of the weights of the sources. Losses are held-out bits per byte, by ``target``."""

    sources: list[str]
    target: dict[str, float]
    """Source → the share of its held-out loss in the total."""
    rows: list[dict[str, Any]]
    """Per run: its mixture, seed and weights, whether it is held out, its loss, the law's, and its loss by source."""
    diverged: list[str]
    """Runs without a finite loss."""
    parameters: int
    """Of the runs: those that multiply every token."""
    rank_correlation: float
    """Of the law's losses with those of the held-out mixtures (Spearman)."""
    p: float
    """How often a random order would agree as well."""
    error: float
    """Root mean square of the law's error on the held-out mixtures, as a share of the loss."""
    noise: float | None
    """The standard deviation between seeds, as a share of the loss; None if unknown."""
    spread: float
    """The standard deviation between mixtures, as a share of the loss."""
    best: dict[str, dict[str, float]]
    """Source → share in the best mixture (``weights``), and the lowest and highest one among mixtures within noise of
    it (``low``, ``high``)."""
    at_edge: list[str]
    """Sources whose smallest or largest share that was tried is within noise of the best one."""
    launched: dict[str, Any] | None
    """The weights of the full run, and how much higher its loss is than that of the best mixture, as a share of the
    loss, with its 95% interval (``behind``, ``low``, ``high``); None where it reads other sources."""
    refusal: str
    """Why no mixture is recommended; empty if one is."""


class Forecast(Results):
    """What the full run will reach, said before it."""

    loss: float
    low: float
    high: float
    """The 90% prediction interval of held-out bits per byte at the end."""
    half_width: float
    """Half of the interval as a share of ``loss``."""
    beyond: float
    """FLOPs of the full run over those of the largest run of the study."""
    curve: list[dict[str, float]]
    """Bands of the curve on the way: share of the steps, step, loss, low, high."""
    flops: float
    study_flops: float
    optimal_parameters: float
    optimal_tokens: float
    """The size and text with the lowest expected loss for the FLOPs of the full run."""
    hours: float | None = volatile()
    dollars: float | None = volatile()


class StudyCost(Results):
    """What the study took. ``runs`` and ``hours``: by part of the study (trunk, cooldown, rates, batches, ideas)."""

    runs: dict[str, int]
    flops: float
    """Of all that was trained; a trunk counts once."""
    hours: dict[str, float] = volatile()
    """Of training, as measured."""
    gpu_hours: float = volatile()
    """0 on a CPU."""
    dollars: float | None = volatile()
    """For the GPU hours; None without a price."""


class SuiteSignal(Results):
    """Which suite can decide at which size."""

    rows: list[dict[str, Any]]
    """Per suite, metric and width: the score of the largest budget, chance, what a doubling of the text gains, the
    noise between seeds in the same unit, the expected share of pairs that it ranks rightly, and whether it decides, or
    why not. The gain and the noise of bits per byte are shares of them."""


class SuiteForecast(Results):
    """The scores of the full run on the suites, said before it."""

    rows: list[dict[str, Any]]
    """Per suite and metric: chance, and the forecast with its 90% interval for the same items; or, without one, the
    reason."""


class LaunchGate(Results):
    """What the conditions for the launch are about; the checks compare it with their bounds of now. The manifest of the
    full run keeps it: the forecast with which the run was launched."""

    forecast: float
    low: float
    high: float
    """The 90% interval of the forecast."""
    half_width: float
    curve: list[dict[str, float]]
    """See ``Forecast``."""
    suites: list[dict[str, Any]] = Field(default_factory=list)
    """See ``SuiteForecast``."""
    coverage: float | None
    forecast_runs: int
    regret: float | None
    at_edge: list[int]
    bad_runs: list[str]
    """Runs of the study that diverged, skipped steps, or do not fit the law."""
    other_recipe: list[str]
    """Fields in which runs of the study differ from the launched one in more than their size."""
    beyond: float
    """See ``Forecast``."""
    epochs: float
    searched: dict[str, float]
    """Suite → the share of its items that are long enough to be searched for in the training text."""
    preflight: str = volatile()
    """Why the run can't start on the target machine; empty if it can."""
    hours: float | None = volatile()
    dollars: float | None = volatile()


class ForecastScore(Results):
    """The forecast beside the result."""

    forecast: float
    low: float
    high: float
    loss: float
    error: float
    """(result − forecast) / forecast."""
    within: bool
    beyond: float
    """FLOPs of the run over those of the study's largest run."""
    made: str
    """When the forecast was sealed: before the run began."""
    suites: list[dict[str, Any]] = Field(default_factory=list)
    """The forecasts of the suites, each with the score (``value``) and whether it lies ``within`` the interval."""
