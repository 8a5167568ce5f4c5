"""The stage ``ablation_report``: each idea against the launched recipe, at each size where ideas are tried.

Both have the same seeds, order of data and held-out text, and each its own best rate among those that were tried. What
is compared is the logarithm of the held-out loss, so differences are shares of the loss.
"""

import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from statistics import fmean, linear_regression, median
from typing import Any

import numpy as np

from llm_core.errors import PedigreeError
from llm_core.graph.job import Job
from llm_core.graph.stage import Verdict
from llm_core.science.comparison import compare
from llm_core.science.loss_law import LossLaw
from llm_core.study.inputs import losses, trained
from llm_core.study.results import Ablations, ScalingLaw
from llm_core.study.scaling_law import law_of
from llm_core.study.study_run import StudyRun
from llm_core.tokens.results import TokenShards

ROWS = "ablations.json"
CLOCKS = ("speed", "memory", "at_equal_time")
"""What depends on the machine."""
Arm = dict[float, dict[int, tuple[StudyRun, float]]]
"""Multiple of the rate → seed → the run and the logarithm of its loss."""


def build(
    job: Job,
    runs: Sequence[StudyRun],
    margin: float,
    looks: int,
    changes: Mapping[str, Mapping[str, Any]],
    shards: Mapping[str, str],
) -> Ablations:
    """Compare all ideas of a size at once, since their number decides how sure each verdict must be.

    ``changes``: idea → its overrides of the launched recipe. ``shards``: idea → the input with its shards, for ideas
    with another tokenizer.
    """
    texts = {idea: _bytes_per_token(job, role) / _bytes_per_token(job, "token_shards") for idea, role in shards.items()}
    arms: dict[int, dict[str, Arm]] = defaultdict(lambda: defaultdict(lambda: defaultdict(dict)))
    for run, loss in zip(runs, losses(job, runs), strict=True):
        arms[run.width][run.idea][run.multiple][run.seed] = run, float(np.log(loss))
    found = [row for width, ideas in arms.items() for row in _of_size(job, width, ideas, margin, looks, texts)]
    (job.out / ROWS).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    rows = [{name: value for name, value in row.items() if name not in CLOCKS} for row in found]
    clocks = [{name: row[name] for name in ("width", "idea", *CLOCKS)} for row in found]
    return Ablations(runs=len(runs), rows=rows, clocks=clocks, slopes=_slopes(rows), changes=changes)


def _bytes_per_token(job: Job, role: str) -> float:
    return job.inputs[role].results(TokenShards).train_bytes_per_token


def _of_size(
    job: Job, width: int, ideas: dict[str, Arm], margin: float, looks: int, texts: Mapping[str, float]
) -> list[dict[str, Any]]:
    baseline, best = ideas.pop(""), {}
    usual = _best(baseline)
    pairs = {}
    for idea, arm in ideas.items():
        best[idea] = _best(arm)
        ours, theirs = arm[best[idea]], baseline[usual]
        both = [seed for seed in ours if seed in theirs and math.isfinite(ours[seed][1] - theirs[seed][1])]
        pairs[idea] = [ours[seed][1] - theirs[seed][1] for seed in both]
    finite = {idea: values for idea, values in pairs.items() if values}
    try:
        verdicts = {verdict.idea: asdict(verdict) for verdict in compare(finite, margin, looks=looks)} if finite else {}
    except PedigreeError:  # one seed each: there is no noise to compare with
        verdicts = {}
    law = law_of(job.inputs["scaling_law"].results(ScalingLaw).law) if "scaling_law" in job.inputs else None
    return [
        {
            "width": width,
            "idea": idea,
            "difference": fmean(values) if values else None,
            **{name: verdicts.get(idea, {}).get(name) for name in ("low", "high", "p", "seeds_needed")},
            "verdict": "diverged"
            if _diverges(ideas[idea][best[idea]])
            else verdicts.get(idea, {}).get("verdict", "undecided"),
            "seeds": len(values),
            "multiple": best[idea],
            "baseline_multiple": usual,
            "at_edge": len(ideas[idea]) > 1 and best[idea] in (min(ideas[idea]), max(ideas[idea])),
            "diverged": sum(not math.isfinite(log) for arm in ideas[idea].values() for _, log in arm.values()),
            "skipped": sum(trained(job, run).skipped_steps for arm in ideas[idea].values() for run, _ in arm.values()),
            **_costs(
                job,
                law,
                ideas[idea][best[idea]],
                baseline[usual],
                fmean(values) if values else None,
                texts.get(idea, 1.0),
            ),
        }
        for idea, values in pairs.items()
    ]


def _best(arm: Arm) -> float:
    """The multiple with the lowest mean loss over its seeds; a rate at which a run diverged comes last."""
    return min(
        arm, key=lambda multiple: fmean(log if math.isfinite(log) else math.inf for _, log in arm[multiple].values())
    )


def _diverges(runs: Mapping[int, tuple[StudyRun, float]]) -> bool:
    """Whether an idea has a run at its best rate that diverged. Then each of its rates has one."""
    return any(not math.isfinite(log) for _, log in runs.values())


def _costs(
    job: Job, law: LossLaw | None, ours: dict[int, Any], theirs: dict[int, Any], difference: float | None, text: float
) -> dict[str, Any]:
    """Ratios to the baseline, and the difference for equal FLOPs, equal time and equal bytes of text instead of equal
    tokens (None without a law). ``text``: bytes per token, over those of the baseline.

    At equal FLOPs, an idea that needs more of them per token reads less text. By the scaling law, a run with the share
    s of the text has a loss higher by the law's slope; the same holds for time, with the measured tokens per second.
    """
    (idea, _), (usual, _) = next(iter(ours.values())), next(iter(theirs.values()))

    def measured(field: str) -> float:
        own, other = ([getattr(trained(job, run), field) for run, _ in arm.values()] for arm in (ours, theirs))
        return median(own) / median(other) if median(other) else math.nan

    flops, speed = idea.flops / usual.flops, measured("tokens_per_second")

    def at(share: float) -> float | None:
        if difference is None or law is None or not math.isfinite(share):
            return None
        less, all_of_it = law.log_loss([usual.parameters] * 2, [usual.tokens * share, usual.tokens])
        return float(difference + less - all_of_it)

    return {
        "parameters": trained(job, idea).parameters / trained(job, usual).parameters,
        "flops": flops,
        "speed": speed,
        "memory": measured("peak_memory_bytes"),
        "text": text,
        "at_equal_flops": at(1 / flops),
        "at_equal_text": at(1 / text),
        "at_equal_time": at(speed),
    }


def _slopes(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Idea → how its difference changes per doubling of the width, by a line through its sizes."""
    found: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for row in rows:
        if row["difference"] is not None:
            found[row["idea"]].append((math.log2(row["width"]), row["difference"]))
    lines = {idea: linear_regression(*zip(*points, strict=True)) for idea, points in found.items() if len(points) > 1}
    return {idea: float(line.slope) for idea, line in lines.items()}


def several_seeds(results: Ablations, bounds: None) -> Verdict:
    """Every idea has at least two pairs of runs, without which nothing can be decided."""
    del bounds
    few = sorted({row["idea"] for row in results.rows if row["seeds"] < 2 and row["verdict"] != "diverged"})
    return Verdict(not few, f"fewer than two seeds: {', '.join(few)}" if few else "all ideas have several seeds")


def best_rates_inside(results: Ablations, bounds: None) -> Verdict:
    """No idea has its best rate at an edge of the rates that were tried."""
    del bounds
    edges = sorted({f"{row['idea']} (width {row['width']})" for row in results.rows if row["at_edge"]})
    message = f"the best rate is at an edge for {', '.join(edges)}"
    return Verdict(not edges, message if edges else "every best rate is inside its sweep, or there is none")
