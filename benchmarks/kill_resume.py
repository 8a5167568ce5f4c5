"""Does a run that is killed at random moments end with the very same weights?

``python -m benchmarks.kill_resume``:

1. one undisturbed run, one killed ten times with KILL, one ten times with TERM: what was interrupted where;
2. for every optimiser and every mixer, one undisturbed run and one killed three times with KILL;
3. on 2 → 1 → 2 ranks, DDP and FSDP2, beside 2 ranks undisturbed and beside one.

One process interrupted must give equal weights bit by bit. Another number of ranks sums gradients in another order: the
batches must be the same in the same order, and losses stay within ``TOLERANCE``.
"""

import json
import random
import shutil
import signal
import tempfile
import time
from hashlib import sha256
from pathlib import Path
from typing import Any

from llm_core.train.optimizers.adamw.spec import AdamW
from llm_core.train.optimizers.muon.spec import Muon
from llm_core.train.spec import TrainerSpec
from tests.train.runs import finish, model_spec, records, start, trainer_spec, weights

STEPS, INTERRUPTIONS = 200, 10
SHORT, FEW = 60, 3
TOLERANCE = 1e-5
"""Nats."""

OPTIMIZERS = {"adamw": AdamW(lr=0.01), "muon": Muon(lr=0.01)}
LAYERS: dict[str, dict[str, Any]] = {
    "attention": {},
    "MixAttention": {
        "n_layers": 4,
        "pattern": [
            {"mixer": {"window": 8}},
            {},
            {"mixer": {"window": 8, "share_kv": True}},
            {"mixer": {"share_kv": True}},
        ],
    },
    "MLA": {
        "mixer": {
            "kind": "mla",
            "n_heads": 4,
            "kv_rank": 16,
            "q_rank": 16,
            "nope_dim": 8,
            "rope_dim": 4,
            "value_dim": 8,
        }
    },
    "LIV": {"mixer": {"kind": "liv", "kernel": 3}},
    "Mamba-2": {"mixer": {"kind": "mamba2", "state": 16, "head_dim": 16, "chunk": 16}},
    "experts": {"feed_forward": {"kind": "moe", "experts": 4, "top_k": 2, "d_ff": 32, "shared": 1, "bias_rate": 0.01}},
    "dropout": {"dropout": 0.1},
}


def disturbed(spec: TrainerSpec, number: signal.Signals, generator: random.Random, ranks: list[int]) -> list[str]:
    """Interrupt the run once for each entry of ``ranks`` but the last, on so many ranks; then let it end.

    Returns a line of a table for each interruption.
    """
    lines = []
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
        lines.append(f"| {count} | {number.name} | {world} | {steps} | {code} | {', '.join(kept) or 'none'} |")
    finish(spec, ranks[-1])
    return lines


def digest(spec: TrainerSpec) -> str:
    return sha256(weights(spec)).hexdigest()[:16]


def one_process(folder: Path, generator: random.Random) -> None:
    straight, killed, stopped = (
        trainer_spec(folder, steps=STEPS, work=folder / name, checkpoint_every=5)
        for name in ("straight", "killed", "stopped")
    )
    finish(straight)
    print("| # | signal | ranks | step | exit code | checkpoints left |\n|---|---|---|---|---|---|")
    for spec, number in ((killed, signal.SIGKILL), (stopped, signal.SIGTERM)):
        print("\n".join(disturbed(spec, number, generator, [1] * (INTERRUPTIONS + 1))), flush=True)
    print(f"\nundisturbed: {digest(straight)}")
    for name, spec in (("10 × KILL", killed), ("10 × TERM", stopped)):
        print(f"{name}: {digest(spec)}, equal: {weights(spec) == weights(straight)}")
    print(json.dumps({"steps": STEPS, "seconds": round(sum(record["seconds"] for record in records(straight)), 1)}))


def every_optimizer_and_mixer(folder: Path, generator: random.Random) -> None:
    print(f"\n| optimiser | layers | killed in step (of {SHORT}) | weights | equal |\n|---|---|---|---|---|")
    for optimizer, settings in OPTIMIZERS.items():
        for layers, changes in LAYERS.items():
            model = model_spec(document_mask=True, **changes)
            straight, killed = (
                trainer_spec(
                    folder,
                    steps=SHORT,
                    work=folder / optimizer / layers / name,
                    checkpoint_every=5,
                    model=model,
                    training={"optimizer": settings},
                )
                for name in ("straight", "killed")
            )
            finish(straight)
            lines = disturbed(killed, signal.SIGKILL, generator, [1] * (FEW + 1))
            steps = ", ".join(line.split(" | ")[3] for line in lines)
            equal = weights(killed) == weights(straight)
            print(f"| {optimizer} | {layers} | {steps} | {digest(killed)} | {equal} |", flush=True)


def several_ranks(folder: Path, generator: random.Random) -> None:
    print("\n| parallel | beside | same batches | losses apart, nats | within |\n|---|---|---|---|---|")
    one = trainer_spec(folder, steps=SHORT, work=folder / "one", checkpoint_every=5)
    finish(one)
    for parallel in ("ddp", "fsdp2"):
        two, moved = (
            trainer_spec(folder, steps=SHORT, work=folder / parallel / name, checkpoint_every=5, parallel=parallel)
            for name in ("two", "moved")
        )
        finish(two, ranks=2)
        disturbed(moved, signal.SIGTERM, generator, [2, 1, 2])
        for name, other in (("2 ranks", two), ("1 rank", one)):
            same = [record["batch"] for record in records(moved)] == [record["batch"] for record in records(other)]
            pairs = zip(records(moved), records(other), strict=True)
            apart = max(abs(ours["loss"] - theirs["loss"]) for ours, theirs in pairs)
            print(f"| {parallel}, 2 → 1 → 2 | {name} | {same} | {apart:.1e} | {apart <= TOLERANCE} |", flush=True)


def main() -> None:
    generator = random.Random(2)
    folder = Path(tempfile.mkdtemp(prefix="kill_resume_"))
    one_process(folder, generator)
    every_optimizer_and_mixer(folder, generator)
    several_ranks(folder, generator)
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
