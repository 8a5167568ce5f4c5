"""How often ideas are called by mistake, and how often a real difference is found, on runs with other seeds only.

    python -m benchmarks.comparisons EXPERIMENT.yaml [--draws 100] [--seeds 5] [--ideas 4]

The study must have one size with many seeds (`pedigree run EXPERIMENT.yaml --select noise_law`). Each draw divides its
runs at random into a baseline and `ideas`, of `seeds` runs each, and compares them as `ablation_report` does: no idea
is better or worse in truth. Then one idea gets a planted gain of two standard deviations of a run.
"""

import argparse

import numpy as np

from assets.study import study_ladder
from benchmarks.study_runs import finished
from llm_core.science.comparison import compare
from pipelines.session import open_session


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiment")
    parser.add_argument("--draws", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--ideas", type=int, default=1)
    arguments = parser.parse_args()
    session = open_session(arguments.experiment)
    runs = finished(session, study_ladder(session.experiment).of("cooldown"))
    last = max(run.steps for run, _ in runs)
    logs = np.log([loss for run, loss in runs if run.steps == last])
    sd = float(np.std(logs, ddof=1))
    print(f"{len(logs)} seeds of {last} steps; standard deviation between seeds {sd:.3%} of the loss\n")
    needed = arguments.seeds * (arguments.ideas + 1)
    if len(logs) < needed:
        parser.error(f"{needed} runs are drawn, but there are {len(logs)}: give sizes more seeds")
    print("| planted gain | draws | called better or worse |\n|---|---|---|")
    for gain in (0.0, 2 * sd):
        rng = np.random.default_rng(0)
        called = sum(
            _called(rng.permutation(logs)[:needed].reshape(-1, arguments.seeds), gain) for _ in range(arguments.draws)
        )
        print(f"| {gain:.3%} | {arguments.draws} | {called} ({called / arguments.draws:.0%}) |")


def _called(groups: np.ndarray, gain: float) -> bool:
    baseline, *ideas = groups
    ideas[0] = ideas[0] - gain
    found = compare({str(number): idea - baseline for number, idea in enumerate(ideas)}, margin=1e-9)
    if gain:
        return found[0].verdict == "better"
    return any(row.verdict in ("better", "worse") for row in found)


if __name__ == "__main__":
    main()
