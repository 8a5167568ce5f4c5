"""The stage ``suite_signal``: which suite can decide at which size."""

from collections.abc import Sequence

import numpy as np

from llm_core.graph.job import Job
from llm_core.graph.stage import Verdict
from llm_core.science.suite_signal import signals
from llm_core.study.results import SuiteSignal
from llm_core.study.study_run import StudyRun
from llm_core.study.suites import BITS, Scores, suite_scores


def build(job: Job, runs: Sequence[StudyRun]) -> SuiteSignal:
    """Compare what more text gains on each suite with the noise between seeds. ``runs``: those that were evaluated."""
    return SuiteSignal(rows=[row for scores in suite_scores(job, runs) for row in _rows(scores, runs)])


def _rows(scores: Scores, runs: Sequence[StudyRun]) -> list[dict]:
    """Per size: accuracies as they are; bits per byte by their logarithm, with the sign turned."""
    bits = scores.metric == BITS
    found = signals(
        -np.log(scores.values) if bits else scores.values,
        [run.width for run in runs],
        [run.tokens for run in runs],
        scores.above,
        step=0.0 if bits else 1 / scores.items,
    )
    return [
        {
            "task": scores.task,
            "metric": scores.metric,
            "width": signal.size,
            "score": float(np.exp(-signal.score)) if bits else signal.score,
            "chance": scores.chance,
            "gain": signal.gain,
            "noise": signal.noise,
            "ranked": signal.ranked,
            "decides": signal.decides,
            "reason": signal.reason,
        }
        for signal in found
    ]


def some_suite_decides(results: SuiteSignal, bounds: None) -> Verdict:
    """Some suite decides at some size."""
    del bounds
    names = sorted({row["task"] for row in results.rows if row["decides"]})
    message = f"suites that decide at some size: {', '.join(names)}" if names else "no suite decides at any size"
    return Verdict(bool(names), message, value=len(names))
