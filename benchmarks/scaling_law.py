"""Laws fitted to published runs: the parameters, and whether intervals cover the runs beyond.

    python -m benchmarks.scaling_law RUNS.csv [--planted 500]

RUNS.csv has the columns parameters, training_flop and loss; tokens are training_flop / (6 · parameters). For each of
fifteen amounts of compute, the runs below it forecast those of 2 to 15 times the compute of the largest one.

``--planted``: so many laws are drawn besides, and their coverage is counted, with independent runs and with trunks and
an interaction that the fitted form doesn't have.
"""

import argparse
from pathlib import Path

import numpy as np

from llm_core.science.extrapolation import USUAL_DRIFT, backtests, drift, interval
from llm_core.science.loss_law import FREE, SIZE_SD, fit
from llm_core.science.runs import Runs
from tests.science.planted import drawn

STEPS = 2.0, 15.0
ALMOST_NONE = 1e-4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--planted", type=int, default=0, metavar="N")
    arguments = parser.parse_args()
    runs = read(arguments.runs)
    print(
        f"{len(runs)} runs of {arguments.runs.name}\n\n| form | E | α | β | κ | excluded |\n|---|---|---|---|---|---|"
    )
    for form in FREE:
        law = fit(runs, form)
        alpha, beta = (
            f"{value:.3f} ± {error:.3f}" for value, error in zip(law.exponents, law.exponents_sd, strict=True)
        )
        print(f"| {form} | {law.floor:.3f} | {alpha} | {beta} | {law.kappa:.2f} | {law.excluded.sum()} |")
    leave_future_out(runs)
    if arguments.planted:
        planted(arguments.planted)


def read(path: Path) -> Runs:
    """The runs of a CSV file. Sizes within 5% count as one trunk."""
    rows = np.genfromtxt(path, delimiter=",", names=True)
    size, flops = rows["parameters"], rows["training_flop"]
    return Runs.of(size, flops / (6 * size), flops, rows["loss"], np.round(np.log(size), 1))


def leave_future_out(runs: Runs) -> None:
    """Print the coverage of the runs beyond each amount of compute."""
    print("\n| FLOPs up to | runs | forecast | error, 90% quantile | drift | half-width | covered | without drift |")
    print("|---|---|---|---|---|---|---|---|")
    rows = []
    for cut in np.geomspace(np.quantile(runs.flops, 0.08), np.quantile(runs.flops, 0.95), 15):
        below = runs.chosen(runs.flops <= cut)
        reach = below.flops.max()
        beyond = runs.chosen((runs.flops >= STEPS[0] * reach) & (runs.flops <= STEPS[1] * reach))
        if len(beyond) < 3 or below.lacking():
            continue
        law = fit(below)
        step = drift(backtests(below))
        place = beyond.parameters, beyond.tokens, beyond.flops
        ours, usual = interval(law, *place, step), interval(law, *place, 0.0)
        error = np.quantile(np.abs(np.log(beyond.loss / ours.loss)), 0.9)
        row = [ours.contains(beyond.loss).mean(), usual.contains(beyond.loss).mean(), np.median(ours.half_width)]
        rows.append([len(beyond), *row])
        print(
            f"| {cut:.1e} | {len(below)} | {len(beyond)} | {error:.2%} | {step:.4f} | ± {row[2]:.2%} | {row[0]:.0%} | "
            f"{row[1]:.0%} |"
        )
    count, ours, usual, width = np.array(rows).T
    print(
        f"\nCovered: {np.average(ours, weights=count):.1%} of all forecasts, {np.average(usual, weights=count):.1%} "
        f"without drift; mean over the cuts {ours.mean():.1%} and {usual.mean():.1%}; half-width: median "
        f"{np.median(width):.2%}"
    )


def planted(draws: int) -> None:
    """Print the coverage over laws that are drawn at random: by the law alone, and with sizes and drift."""
    print(f"\n| {draws} planted laws | by the law alone | with sizes {SIZE_SD}, drift {USUAL_DRIFT} |\n|---|---|---|")
    kinds = {"independent": {}, "trunks": {"trunk": 0.006}, "trunks and interaction": {"trunk": 0.006, "kappa": 0.7}}
    for name, fixed in kinds.items():
        rng = np.random.default_rng(0)
        inside = []
        for _ in range(draws):
            law = drawn(rng, **fixed)
            runs = law.runs(rng)
            parameters, tokens, loss = law.beyond(rng)
            place = parameters, tokens, 6 * parameters * tokens
            bands = [
                interval(fit(runs, size_sd=size_sd), *place, step)
                for size_sd, step in ((ALMOST_NONE, 0.0), (SIZE_SD, USUAL_DRIFT))
            ]
            inside.append([band.contains(loss).mean() for band in bands])
        without, with_drift = np.mean(inside, axis=0)
        print(f"| {name} | {without:.1%} | {with_drift:.1%} |")


if __name__ == "__main__":
    main()
