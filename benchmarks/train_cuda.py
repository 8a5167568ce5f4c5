"""A training step of a billion parameters on one GPU, with its settings varied one by one; for `benchmarks/train.py`.

Each row is a process of its own, so that one that runs out of memory takes no other along, and its peak is its own. MFU
as in `llm_core.model.accounting`: 6 · N + full attention over the device's bf16 peak, also for fp8, recomputation not
counted. Text is made, as in `train.py`: documents of about half a sequence.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from train_peers import Contender, missing, ours, plain_cross_entropy, transformers

from llm_core.experiment.model import ModelSpec
from llm_core.model.accounting import FLOPS_CONVENTION, flops_per_token
from llm_core.train.fp8 import in_float8, require_float8
from llm_core.train.hardware import peak_flops
from llm_core.train.recompute import recompute

VOCABULARY = 32_768
BASE: dict[str, Any] = {
    "model": {"preset": "llama3_1b"},
    "length": 2048,
    "sequences": 8,
    "compiled": True,
    "recompute": "none",
    "cross_entropy": "chunked",
    "attention": "auto",
    "precision": "bf16",
    "who": "ours",
}
MASKED = {"model": {"preset": "llama3_1b", "document_mask": True}}
ROWS: dict[str, dict[str, Any]] = {
    "llama3_1b": {},
    "eager": {"compiled": False},
    "recompute selectively": {"recompute": "selective"},
    "recompute every second block": {"recompute": "every_nth"},
    "recompute all": {"recompute": "full"},
    "all logits at once": {"cross_entropy": "plain"},
    "fp8": {"precision": "fp8"},
    "transformers, compiled": {"who": "transformers"},
    "transformers, eager": {"who": "transformers", "compiled": False},
    "document mask: flex": {**MASKED, "attention": "flex"},
    "document mask: varlen": {**MASKED, "attention": "varlen"},
    "document mask: sdpa": {**MASKED, "attention": "sdpa"},
    "mixattention_1b": {"model": {"preset": "mixattention_1b"}},
    "lfm2_1b": {"model": {"preset": "lfm2_1b"}},
    "4,096 tokens": {"length": 4096, "sequences": 4},
    "4,096 tokens, eager": {"length": 4096, "sequences": 4, "compiled": False},
    "4,096 tokens, recompute selectively": {"length": 4096, "sequences": 4, "recompute": "selective"},
    "4,096 tokens, all logits at once": {"length": 4096, "sequences": 4, "cross_entropy": "plain"},
    "4,096 tokens, fp8": {"length": 4096, "sequences": 4, "precision": "fp8"},
    "4,096 tokens, mixattention_1b": {"model": {"preset": "mixattention_1b"}, "length": 4096, "sequences": 4},
    "4,096 tokens, transformers, compiled": {"length": 4096, "sequences": 4, "who": "transformers"},
}
"""Row → what it has other than ``BASE``."""

TOY: dict[str, Any] = {"length": 32, "sequences": 2}
TOY_SHAPE = {"d_model": 64, "n_layers": 2, "n_heads": 4, "n_kv_heads": 2, "d_ff": 96}


def contender(setting: dict[str, Any], spec: ModelSpec, vocab_size: int, device: torch.device) -> Contender:
    """Order of `llm_core.train.distribution`: fp8, recomputation, compiler."""
    made = ours(spec, vocab_size, device, compiled=False)
    if setting["who"] == "transformers":
        return transformers(spec, vocab_size, made.model.state_dict(), setting["compiled"])
    model = made.model
    model.attention_backend = setting["attention"]
    blocks = list(model.blocks)
    if setting["precision"] == "fp8":
        require_float8(device)
        in_float8(blocks)
    recompute(blocks, setting["recompute"], 2 if setting["recompute"] == "every_nth" else None)
    if setting["compiled"]:
        from torch._dynamo import config

        config.recompile_limit = max(config.recompile_limit, 4 * len(blocks))
        for block in blocks:
            block.compile()
    if setting["cross_entropy"] == "plain":
        return Contender("ours", model, lambda batch: plain_cross_entropy(model, batch))
    return made


def measure(setting: dict[str, Any], device: torch.device, steps: int, toy: bool) -> dict[str, Any]:
    """Tokens per second (the median step), MFU, and the peak of memory in bytes."""
    # The generator of batches is the benchmark's own: here, so that a test may import this module alone.
    from train import Trainee, batches

    vocab_size = 128 if toy else VOCABULARY
    spec = ModelSpec(**setting["model"])
    rows, length = setting["sequences"], setting["length"]
    stream = batches(None, vocab_size, rows, length, device)
    ready = [next(stream) for _ in range(4)]

    def again() -> Any:
        while True:
            yield from ready

    trainee = Trainee(contender(setting, spec, vocab_size, device), again(), 3e-4)
    loss = trainee.train(3)  # compiles, and makes the optimiser's state
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    times = []
    for _ in range(steps):
        started = time.perf_counter()
        loss = trainee.train(1)  # reads the loss, and so waits for the device
        times.append(time.perf_counter() - started)
    rate = rows * length / statistics.median(times)
    peak = peak_flops(torch.cuda.get_device_name(device)) if device.type == "cuda" else None
    return {
        "tokens_per_second": rate,
        "mfu": None if peak is None else rate * flops_per_token(spec, vocab_size, length) / peak,
        "memory": torch.cuda.max_memory_allocated() if device.type == "cuda" else None,
        "loss": loss,
    }


def settings(toy: bool) -> dict[str, dict[str, Any]]:
    """All rows in full; with ``toy``, at a shape for tests, without what only CUDA can do."""
    rows = {name: {**BASE, **changes} for name, changes in ROWS.items()}
    if missing(("transformers",)):
        rows = {name: row for name, row in rows.items() if row["who"] == "ours"}
    if not toy:
        return rows
    small = {}
    for name, row in rows.items():
        if row["precision"] == "fp8" or row["attention"] in ("flex", "varlen") or row["length"] != BASE["length"]:
            continue
        model = {**row["model"], **TOY_SHAPE}
        if row["model"]["preset"] == "mixattention_1b":
            model["n_layers"] = 8
        if row["model"]["preset"] == "lfm2_1b":
            model["n_layers"] = 16
        small[name] = {**row, **TOY, "model": model, "compiled": False}
    return small


def main(options: argparse.Namespace) -> None:
    """The table; each row by this module as a process."""
    device = "cpu" if options.toy else "cuda"
    if device == "cuda":
        print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}; MFU: {FLOPS_CONVENTION}\n")
    print("| setting | sequences × tokens | tokens/s | MFU | peak memory | loss |\n|---|---|---|---|---|---|")
    for name, setting in settings(options.toy).items():
        order = json.dumps({"setting": setting, "device": device, "steps": options.steps, "toy": options.toy})
        done = subprocess.run([sys.executable, str(Path(__file__)), order], capture_output=True, text=True, check=False)
        size = f"{setting['sequences']} × {setting['length']:,}"
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["killed"])[-1]
            print(f"| {name} | {size} | {reason[:120]} | | | |", flush=True)
            continue
        found = json.loads(done.stdout.splitlines()[-1])
        mfu = "" if found["mfu"] is None else f"{found['mfu']:.1%}"
        memory = "" if found["memory"] is None else f"{found['memory'] / 1e9:.1f} GB"
        print(
            f"| {name} | {size} | {found['tokens_per_second']:,.0f} | {mfu} | {memory} | {found['loss']:.3f} |",
            flush=True,
        )


if __name__ == "__main__":
    order = json.loads(sys.argv[1])
    torch.manual_seed(0)
    print(json.dumps(measure(order["setting"], torch.device(order["device"]), order["steps"], order["toy"])))
