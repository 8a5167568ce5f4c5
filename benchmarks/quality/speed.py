"""How fast each idea trains: measured apart from the runs, in turns, so that a busy moment meets all alike."""

import json
import statistics
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from benchmarks.quality.runs import BASELINE, Run, train
from llm_core.train.metrics_log import METRICS, read_metrics

STEPS = 24
SKIPPED = 6
"""Steps at the start that are not counted."""


class Speed(NamedTuple):
    """``tokens``: a second, on one thread, without validation. ``share``: of the baseline's in the same round."""

    tokens: float
    share: float


def speeds(runs: Mapping[str, Run], shards: Path, vocab_size: int, rounds: int, home: Path) -> dict[str, Speed]:
    """Medians over ``rounds``, by name. Kept in ``home``."""
    kept = home / "speed.json"
    found: dict[str, list[tuple[float, float]]] = json.loads(kept.read_bytes()) if kept.exists() else {}
    missing = {name: run for name, run in runs.items() if len(found.get(name, [])) < rounds}
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(rounds if missing else 0):
            # Beside ideas that were added later the baseline runs again: only ratios of one time are worth something.
            turns = {BASELINE: runs[BASELINE], **missing}
            now = {name: measured(run, shards, vocab_size, Path(folder) / str(turn)) for name, run in turns.items()}
            for name in missing:
                found.setdefault(name, []).append((now[name], now[name] / now[BASELINE]))
            print(f"round {turn + 1}: " + ", ".join(f"{name} {speed:,.0f}" for name, speed in now.items()), flush=True)
    home.mkdir(parents=True, exist_ok=True)
    kept.write_text(json.dumps(found))
    return {name: Speed(*map(statistics.median, zip(*found[name], strict=True))) for name in runs}


def measured(run: Run, shards: Path, vocab_size: int, home: Path) -> float:
    """Tokens per second of a short run; with bags of tokens, half of it has them, and they count by their share."""
    training, bags = run.training, run.training.superposition
    changes = {
        "tokens": STEPS * training.batch_tokens,
        "schedule": training.schedule.model_copy(update={"warmup_steps": 0, "cooldown_steps": 0}),
        "superposition": None if bags is None else bags.model_copy(update={"steps": STEPS // 2}),
        "validate_every": STEPS,
    }
    spec = Run(run.name, run.model, training.model_copy(update=changes), run.seed).spec(shards, home, vocab_size)
    train(spec)
    seconds = [row["seconds"] for row in read_metrics(spec.work / METRICS)]
    begins, ordinary = seconds[SKIPPED : STEPS // 2], seconds[STEPS // 2 + 1 :]
    share = 0.5 if bags is None else bags.steps / training.steps
    mean = share * statistics.median(begins) + (1 - share) * statistics.median(ordinary)
    return training.batch_tokens / mean
