"""Scores items with a model, in a process of its own."""

import json
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from llm_core.evals.run import RunSpec
from llm_core.graph.job import Job
from llm_core.launch import run_group


def scored_by_model(
    job: Job, spec: RunSpec, suites: Mapping[str, Iterable[Mapping[str, Any]]]
) -> dict[str, list[dict[str, Any]]]:
    """Task → a record for every document, question or item. ``suites``: name → the inputs of the model."""
    for task in spec.suites:
        write_lines(Path(task["rows"]), suites[task["name"]])
    spec_file, progress = job.work / "spec.json", Path(spec.progress)
    spec.write(spec_file)

    def tick() -> None:
        if progress.is_file():
            done, total = json.loads(progress.read_bytes())
            job.runtime.progress(done, total, "rows")

    command = [sys.executable, "-m", "llm_core.evals.run", str(spec_file)]
    job.runtime.status("starting the evaluation")
    run_group(command, log=job.work / "lm_eval.log", environment=job.runtime.environment, tick=tick)
    scores: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for line in Path(spec.scores).read_bytes().splitlines():
        score = json.loads(line)
        scores[score["task"]].append(score)
    return scores


def write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write JSON lines."""
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for item in rows:
            file.write(json.dumps(item, ensure_ascii=False, allow_nan=False) + "\n")
