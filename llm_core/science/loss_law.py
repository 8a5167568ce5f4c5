"""The loss as a function of parameters and tokens, fitted to runs.

All three forms are cases of one, E + ((A/N^α)^(1/κ) + (B/D^β)^(1/κ))^κ: the *additive* form (Hoffmann et al., 2022) has
κ = 1, the *coupled* one leaves κ free, and Kaplan's (Kaplan et al., 2020) has E = 0 and κ = β.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import least_squares, minimize, nnls

from llm_core.errors import PedigreeError
from llm_core.science.runs import Floats, Runs

Form = Literal["additive", "coupled", "kaplan"]
SIZE, TEXT, FLOOR, ALPHA, BETA, KAPPA = range(6)
"""Places of the logarithms of the size term, the text term, E, α, β and κ. The terms are those at the runs' centre."""
FREE: dict[Form, list[int]] = {
    "additive": [SIZE, TEXT, FLOOR, ALPHA, BETA],
    "coupled": [SIZE, TEXT, FLOOR, ALPHA, BETA, KAPPA],
    "kaplan": [SIZE, TEXT, ALPHA, BETA],
}

PRIOR_SD = np.array([1.5, 1.5, 0.5, 0.3, 0.3, 0.3])
OUTLIER = 10.0
"""Runs so many robust standard deviations off are excluded, and named."""
SIZE_SD = 0.005
"""Standard deviation, between the sizes of a ladder, of the loss's logarithm about the law. Depth, heads and rates are
no smooth functions of the size, so all runs of one size lie above or below the law together, whatever their seeds. A
ladder has too few sizes to estimate it."""
MANY_SIZES = 10
"""With so many sizes, their deviations average out, and are part of the noise between trunks."""
_LEAST_SD = 5e-4
_ROUNDS = 8


@dataclass(frozen=True)
class LossLaw:
    """A fitted law. Losses are in the unit of the runs' losses; standard deviations are of the loss's logarithm.

    ``point``: the six logarithms (see ``SIZE`` …). ``covariance``: of the form's free ones. ``noise``: of a run about
    its trunk; ``trunk_noise``: of trunks of one size; ``size_noise``: of sizes about the law. ``excluded``: the runs
    that were left out as outliers. ``reach``: the largest FLOPs of the runs.
    """

    form: Form
    point: Floats
    covariance: Floats
    centre: tuple[float, float]
    noise: float
    trunk_noise: float
    size_noise: float
    excluded: NDArray[np.bool_]
    reach: float

    def log_loss(self, parameters: ArrayLike, tokens: ArrayLike) -> Floats:
        """The logarithm of the expected loss."""
        return _log_loss(self.point, _places(parameters, tokens, self.centre))

    def loss(self, parameters: ArrayLike, tokens: ArrayLike) -> Floats:
        """The expected loss."""
        return np.exp(self.log_loss(parameters, tokens))

    def sd(self, parameters: ArrayLike, tokens: ArrayLike) -> Floats:
        """Standard error of ``log_loss``, from the uncertainty of the law's parameters; without a run's own noise."""
        slopes = _slopes(self.form, self.point, _places(parameters, tokens, self.centre))
        return np.sqrt(np.einsum("ri,ij,rj->r", slopes, self.covariance, slopes))

    @property
    def run_sd(self) -> float:
        """Standard deviation of a run of a new size and trunk about the law."""
        return float(np.sqrt(self.noise**2 + self.trunk_noise**2 + self.size_noise**2))

    @property
    def floor(self) -> float:
        """E: the loss with endless parameters and text."""
        return float(np.exp(self.point[FLOOR])) if self.form != "kaplan" else 0.0

    @property
    def exponents(self) -> tuple[float, float]:
        """α of the parameters and β of the tokens."""
        return float(np.exp(self.point[ALPHA])), float(np.exp(self.point[BETA]))

    @property
    def exponents_sd(self) -> tuple[float, float]:
        """Standard errors of α and β."""
        free = FREE[self.form]
        errors = np.sqrt(np.diag(self.covariance))
        alpha, beta = self.exponents
        return alpha * errors[free.index(ALPHA)], beta * errors[free.index(BETA)]

    @property
    def kappa(self) -> float:
        """κ: 1 where size and text do not interact."""
        return float(np.exp(self.point[KAPPA]))

    @property
    def coefficients(self) -> tuple[float, float]:
        """A of the size term and B of the text term."""
        alpha, beta = self.exponents
        return (
            float(np.exp(self.point[SIZE] + alpha * self.centre[0])),
            float(np.exp(self.point[TEXT] + beta * self.centre[1])),
        )


def fit(runs: Runs, form: Form = "additive", size_sd: float = SIZE_SD) -> LossLaw:
    """The law of ``form`` that fits best: Huber's loss (1964) on logarithms of the loss, with a weak prior.

    The search begins at the best point of a variable projection (Golub and Pereyra, 1973): E, A and B are solved for
    each pair of exponents of a grid. Runs of one trunk count as correlated. With few sizes, each has a deviation of its
    own, so that three sizes do not pass for a proof of their exponent. ``size_sd``: the standard deviation of these;
    above 0. ``PedigreeError`` for too few runs.
    """
    if lacking := runs.lacking():
        raise PedigreeError(f"no law can be fitted to {lacking}")
    logs = np.log(runs.parameters), np.log(runs.tokens)
    centre = float(logs[0].mean()), float(logs[1].mean())
    places = _places(runs.parameters, runs.tokens, centre)
    target = np.log(runs.loss)
    mean = prior_mean(form, runs.loss)
    used, sd = np.ones(len(runs), bool), 1e-2
    sizes = np.unique(runs.parameters, return_inverse=True)[1]
    few = sizes.max() + 1 < MANY_SIZES
    starts = _projected(places, runs.loss)
    for _ in range(_ROUNDS):
        solve = _solver(form, places[used], target[used], mean, sd, sizes[used] if few else None, size_sd)
        point, shifts, _ = min((solve(start) for start in starts), key=lambda found: found[2])
        starts = [point]
        deviations = target - _log_loss(point, places)
        errors = deviations - (shifts[sizes] if few else 0)
        new = max(1.4826 * float(np.median(np.abs(errors[used]))), _LEAST_SD)
        # A few runs follow their law and shifts closely, which makes none of them an outlier.
        kept = np.abs(deviations) < OUTLIER * np.hypot(new, size_sd if few else 0)
        settled = bool((kept == used).all()) and abs(new / sd - 1) < 0.02
        used, sd = kept, new
        if settled:
            break
    slopes = _slopes(form, point, places[used])
    free = FREE[form]
    # Around ``point`` the law is linear, with this target.
    linear = target[used] - _log_loss(point, places[used]) + slopes @ (point - mean)[free]
    size_noise = size_sd if few else 0.0
    trunks, shared = _same(runs.trunks[used]), size_noise**2 * _same(sizes[used])
    noise, trunk_noise = _noise(linear, slopes, PRIOR_SD[free], trunks, shared, sd)
    spread = noise**2 * np.eye(len(trunks)) + trunk_noise**2 * trunks + shared
    precision = slopes.T @ np.linalg.solve(spread, slopes)
    covariance = np.linalg.inv(precision + np.diag(PRIOR_SD[free] ** -2.0))
    return LossLaw(form, point, covariance, centre, noise, trunk_noise, size_noise, ~used, float(runs.flops.max()))


def prior_mean(form: Form, loss: Floats) -> Floats:
    """The weak prior's mean: terms and E relative to the lowest loss, and exponents amid the published ones, which lie
    between 0.2 and 0.6 beside a free E and between 0.05 and 0.1 without."""
    exponent = np.log(0.085 if form == "kaplan" else 0.35)
    return np.array([-1.2, -1.2, -0.45, exponent, exponent, 0.0]) + np.array([1, 1, 1, 0, 0, 0]) * np.log(loss.min())


def _places(parameters: ArrayLike, tokens: ArrayLike, centre: tuple[float, float]) -> Floats:
    """Logarithms about the centre: (runs, 2)."""
    columns = np.broadcast_arrays(np.log(parameters), np.log(tokens))
    return np.stack([np.ravel(column) - middle for column, middle in zip(columns, centre, strict=True)], axis=1)


def _log_loss(point: Floats, places: Floats) -> Floats:
    kappa = np.exp(point[KAPPA])
    size = point[SIZE] - np.exp(point[ALPHA]) * places[:, 0]
    text = point[TEXT] - np.exp(point[BETA]) * places[:, 1]
    return np.logaddexp(kappa * np.logaddexp(size / kappa, text / kappa), point[FLOOR])


def _point(form: Form, free: Floats) -> Floats:
    """All six logarithms from the free ones."""
    point = np.zeros(6)
    point[FREE[form]] = free
    if form == "kaplan":
        point[FLOOR], point[KAPPA] = -np.inf, point[BETA]
    return point


def _slopes(form: Form, point: Floats, places: Floats, step: float = 1e-5) -> Floats:
    """Derivatives of the log loss by the free parameters: (runs, free)."""
    free = point[FREE[form]]
    moved = np.eye(len(free)) * step
    ends = [[_log_loss(_point(form, free + sign * move), places) for sign in (1, -1)] for move in moved]
    return np.stack([(above - below) / (2 * step) for above, below in ends], axis=1)


def _solver(
    form: Form,
    places: Floats,
    target: Floats,
    mean: Floats,
    sd: float,
    sizes: NDArray[np.int64] | None = None,
    size_sd: float = SIZE_SD,
) -> Callable[[Floats], tuple[Floats, Floats, float]]:
    """From a start to the best point, the shift of each size, and the cost. ``sizes``: of each run; None: no shifts."""
    free = FREE[form]
    count = 0 if sizes is None else int(sizes.max()) + 1
    scale = np.concatenate([PRIOR_SD[free], np.full(count, size_sd)])
    middle = np.concatenate([mean[free], np.zeros(count)])

    def misses(values: Floats) -> Floats:
        shifts = 0.0 if sizes is None else values[len(free) :][sizes]
        errors = (_log_loss(_point(form, values[: len(free)]), places) + shifts - target) / sd
        # Squares of these are twice Huber's loss.
        far = np.sign(errors) * np.sqrt(np.maximum(2 * np.abs(errors) - 1, 0))
        return np.concatenate([np.where(np.abs(errors) <= 1, errors, far), (values - middle) / scale])

    def solve(start: Floats) -> tuple[Floats, Floats, float]:
        found = least_squares(misses, np.concatenate([start[free], np.zeros(count)]), x_scale=scale)
        return _point(form, found.x[: len(free)]), found.x[len(free) :], float(found.cost)

    return solve


def _projected(places: Floats, loss: Floats, most: int = 3) -> list[Floats]:
    """The best starting points of a grid of exponents, of which each has its best E, A and B."""
    found = []
    for alpha, beta in product(np.exp(np.linspace(-2.2, 0.1, 8)), repeat=2):
        terms = np.stack([np.exp(-alpha * places[:, 0]), np.exp(-beta * places[:, 1]), np.ones(len(loss))], axis=1)
        weights = np.ones(len(loss))
        for _ in range(5):
            scale = np.sqrt(weights) / loss
            values, _ = nnls(terms * scale[:, None], loss * scale)
            errors = np.abs(terms @ values / loss - 1)
            width = max(1.4826 * float(np.median(errors)), _LEAST_SD)
            weights = np.minimum(1, width / np.maximum(errors, 1e-12))
        misses = np.where(errors <= width, errors**2 / 2, width * (errors - width / 2)).sum()
        logs = np.log(np.maximum(values, 1e-3 * loss.min()))
        found.append((float(misses), [*logs, np.log(alpha), np.log(beta), 0.0]))
    return [np.array(point) for _, point in sorted(found)[:most]]


def _same(labels: NDArray[np.int64]) -> Floats:
    """1 where two runs have the same label."""
    return (labels[:, None] == labels[None, :]).astype(np.float64)


def _noise(
    target: Floats, slopes: Floats, prior_sd: Floats, trunks: Floats, shared: Floats, sd: float
) -> tuple[float, float]:
    """Standard deviations within and between trunks with the highest marginal likelihood of the linearised law.

    ``trunks``: 1 where two runs have the same. ``shared``: the covariance that sizes give them.
    """
    prior = (slopes * prior_sd**2) @ slopes.T + shared

    def cost(logs: Floats) -> float:
        noise, trunk_noise = np.exp(logs)
        spread = prior + trunk_noise**2 * trunks
        spread[np.diag_indices_from(spread)] += noise**2 + _LEAST_SD**2
        factor = np.linalg.cholesky(spread)
        white = np.linalg.solve(factor, target)
        # A weak prior: trunks differ about half as much as runs of one trunk do.
        ratio = (logs[1] - logs[0] - np.log(0.5)) / 1.0
        return float(np.log(np.diag(factor)).sum() + white @ white / 2 + ratio**2 / 2)

    found = minimize(cost, np.log([sd, sd / 2]), method="Nelder-Mead", options={"xatol": 0.01, "fatol": 0.01})
    noise, trunk_noise = np.exp(found.x)
    return float(max(noise, _LEAST_SD)), float(trunk_noise)
