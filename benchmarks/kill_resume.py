"""Does a run that is killed at random moments end with the very same weights?

``python -m benchmarks.kill_resume``: one undisturbed run, one killed ten times with KILL, one ten times with TERM, and
one on 1 → 2 → 1 ranks. Each prints what was interrupted where, and whether the final weights are equal bit by bit
(for 1 → 2 → 1: whether the batches are the same in the same order, and how far the losses are apart).
"""

import json
import random
import shutil
import signal
import tempfile
import time
from hashlib import sha256
from pathlib import Path

from llm_core.train.spec import TrainerSpec
from tests.train.runs import finish, records, start, trainer_spec, weights

STEPS = 200
INTERRUPTIONS = 10


def disturbed(spec: TrainerSpec, number: signal.Signals, generator: random.Random, ranks: list[int]) -> None:
    """Interrupt the run once for each entry of ``ranks`` but the last, on so many ranks; then let it end."""
    moments = sorted(generator.sample(range(2, spec.training.steps - 5), len(ranks) - 1))
    for count, (step, world) in enumerate(zip(moments, ranks, strict=False), start=1):
        process = start(spec, world)
        metrics = spec.work / "metrics.jsonl"
        while not metrics.exists() or metrics.read_bytes().count(b"\n") < step:
            assert process.poll() is None, (spec.work / "out").read_text()
            time.sleep(0.002)
        time.sleep(generator.uniform(0, 0.05))  # so that it may also hit a checkpoint that is being written
        process.send_signal(number)
        code = process.wait()
        steps = len(metrics.read_bytes().splitlines())
        kept = sorted(path.name for path in (spec.work / "checkpoints").glob("*"))
        print(f"| {count} | {number.name} | {world} | {steps} | {code} | {', '.join(kept) or 'none'} |", flush=True)
    finish(spec, ranks[-1])


def digest(spec: TrainerSpec) -> str:
    return sha256(weights(spec)).hexdigest()[:16]


def main() -> None:
    generator = random.Random(2)
    folder = Path(tempfile.mkdtemp(prefix="kill_resume_"))
    straight, killed, stopped, moved = (
        trainer_spec(folder, steps=STEPS, work=folder / name, checkpoint_every=5)
        for name in ("straight", "killed", "stopped", "moved")
    )
    finish(straight)
    print("| # | signal | ranks | step | exit code | checkpoints left |\n|---|---|---|---|---|---|")
    disturbed(killed, signal.SIGKILL, generator, [1] * (INTERRUPTIONS + 1))
    disturbed(stopped, signal.SIGTERM, generator, [1] * (INTERRUPTIONS + 1))
    disturbed(moved, signal.SIGTERM, generator, [1, 2, 1])
    print(f"\nundisturbed: {digest(straight)}")
    for name, spec in (("10 × KILL", killed), ("10 × TERM", stopped)):
        print(f"{name}: {digest(spec)}, equal: {weights(spec) == weights(straight)}")
    same = [record["batch"] for record in records(moved)] == [record["batch"] for record in records(straight)]
    pairs = zip(records(moved), records(straight), strict=True)
    apart = max(abs(ours["loss"] - theirs["loss"]) for ours, theirs in pairs)
    print(f"1 → 2 → 1 ranks: same batches in the same order: {same}, losses at most {apart:.1e} nats apart")
    print(json.dumps({"steps": STEPS, "seconds": round(sum(record["seconds"] for record in records(straight)), 1)}))
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
