"""Forecasts of real runs: the small sizes of a study forecast its large ones, which are trained too.

    python -m benchmarks.forecasts EXPERIMENT.yaml [EXPERIMENT.yaml …] --up-to 40

Make the runs before (`pedigree run EXPERIMENT.yaml --select scaling_law`). The law is fitted to the sizes up to WIDTH.
"""

import argparse

import numpy as np

from assets.study import study_ladder
from benchmarks.study_runs import finished
from llm_core.science.extrapolation import backtests, drift, interval
from llm_core.science.loss_law import fit
from llm_core.study.inputs import columns
from pipelines.session import open_session


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiments", nargs="+")
    parser.add_argument("--up-to", type=int, required=True, metavar="WIDTH")
    arguments = parser.parse_args()
    print(
        "| experiment | width | parameters | steps | seed | bits per byte | forecast | 90% interval | error | inside |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    rows = [row for name in arguments.experiments for row in forecasts(name, arguments.up_to)]
    errors, widths, inside = (np.array(column) for column in zip(*rows, strict=True))
    print(f"\n{inside.sum()} of {len(rows)} runs inside their 90% interval")
    print(f"error: {np.median(np.abs(errors)):.2%} in the median, {np.abs(errors).max():.2%} at most")
    print(f"half-width: {np.median(widths):.2%} in the median, {widths.max():.2%} at most")


def forecasts(name: str, up_to: int) -> list[tuple[float, float, bool]]:
    """Print a row for each larger run; returns (error, half-width, inside)."""
    session = open_session(name)
    runs = finished(session, study_ladder(session.experiment).of("cooldown"))
    small = [(run, loss) for run, loss in runs if run.width <= up_to]
    table = columns([run for run, _ in small], np.array([loss for _, loss in small]))
    law, step = fit(table), drift(backtests(table))
    found = []
    for run, loss in runs:
        if run.width > up_to:
            band = interval(law, run.parameters, run.tokens, run.flops, step)
            error, inside = loss / band.loss[0] - 1, bool(band.contains(loss)[0])
            found.append((error, band.half_width[0], inside))
            print(
                f"| {session.experiment.name} | {run.width} | {run.parameters:,} | {run.steps:,} | {run.seed} "
                f"| {loss:.4f} | {band.loss[0]:.4f} | {band.low[0]:.4f} to {band.high[0]:.4f} | {error:+.2%} "
                f"| {'yes' if inside else 'no'} |"
            )
    (alpha, beta), (alpha_sd, beta_sd) = law.exponents, law.exponents_sd
    print(
        f"| {name}: {len(small)} runs of {len({run.width for run, _ in small})} sizes; E {law.floor:.3f}, "
        f"α {alpha:.3f} ± {alpha_sd:.3f}, β {beta:.3f} ± {beta_sd:.3f}; noise {law.run_sd:.2%}, drift {step:.2%} |"
    )
    return found


if __name__ == "__main__":
    main()
