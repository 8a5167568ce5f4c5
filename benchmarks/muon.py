"""Muon: what its steps cost, and whether maps that are one product (QKV, gate and up) are better taken apart.

``python -m benchmarks.muon SHARDS [--seeds 3] [--steps 250]``: SHARDS is a ``token_shards`` artifact. One thread.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from llm_core.experiment.model import ModelSpec
from llm_core.experiment.training import TrainingSpec
from llm_core.model.build import build_model
from llm_core.model.decoder import Decoder
from llm_core.model.feed_forwards.gated.spec import SwiGLU
from llm_core.model.fused import Fused
from llm_core.model.mixers.attention.spec import Attention
from llm_core.tokens.reader import ShardReader
from llm_core.train import loop
from llm_core.train.distribution import World
from llm_core.train.interruption import StopRequest
from llm_core.train.metrics_log import METRICS, read_metrics
from llm_core.train.optimizers.adamw.optimizer import adamw
from llm_core.train.optimizers.adamw.spec import AdamW
from llm_core.train.optimizers.muon.optimizer import muon, orthogonalised
from llm_core.train.optimizers.muon.spec import Muon
from llm_core.train.spec import TrainerSpec

CPU = torch.device("cpu")
MIXER = Attention(n_heads=4, n_kv_heads=2, qk_norm=True)
SMALL = ModelSpec(
    d_model=128, n_layers=4, mixer=MIXER, feed_forward=SwiGLU(d_ff=352), document_mask=True
)  # a narrow `tiny`
TINY = ModelSpec(d_model=256, n_layers=3, mixer=MIXER, feed_forward=SwiGLU(d_ff=704), document_mask=True)
RATES = (2e-3, 4e-3)
REPEATS = 7


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Muon, measured.")
    parser.add_argument("shards", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=250)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print_costs()
    print_products()
    print("\n| optimiser | rate | held-out loss, nats a token, by seed |\n|---|---|---|")
    for rate in RATES:
        for kind, apart in (("adamw", True), ("muon", False), ("muon", True)):
            losses = [trained(options.shards, kind, rate, seed, options.steps, apart) for seed in range(options.seeds)]
            name = kind if kind == "adamw" else f"muon, maps {'apart' if apart else 'as one matrix'}"
            print(f"| {name} | {rate:g} | {', '.join(f'{loss:.3f}' for loss in losses)} |", flush=True)


def print_costs() -> None:
    """A step of either optimiser beside the forward and backward pass of `tiny`'s batch (2,048 tokens, bf16)."""
    torch.manual_seed(0)
    model = build_model(TINY, 4096)
    tokens_BT, ids_BT = torch.randint(1, 4096, (8, 257)), torch.zeros(8, 256, dtype=torch.int32)

    def passes() -> None:
        model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            losses = model(tokens_BT[:, :-1], tokens_BT[:, 1:], ids_BT)
        losses.objective.backward()

    passes()
    steps = {
        "forward and backward": passes,
        "AdamW step": adamw(AdamW(lr=3e-3), model, CPU).step,
        "Muon step": muon(Muon(lr=3e-3), model, CPU, "bf16").step,
    }
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(REPEATS):
        for name, step in steps.items():
            times[name].append(seconds(step))
    base = statistics.median(times["forward and backward"])
    print("| | CPU time, share of forward and backward |\n|---|---|")
    for name, found in times.items():
        print(f"| {name} | {statistics.median(found) / base:.1%} |")


def print_products() -> None:
    """The iteration in both types."""
    print("\n| matrices | fp32 time / bf16 time | difference of the directions |\n|---|---|---|")
    for shape in ((3, 256, 256), (6, 256, 704), (2, 1024, 1024)):
        torch.manual_seed(0)
        exact = torch.randn(shape)
        rounded = exact.bfloat16()
        times: dict[torch.dtype, list[float]] = {exact.dtype: [], rounded.dtype: []}
        for _ in range(REPEATS):
            for matrices in (exact, rounded):
                times[matrices.dtype].append(seconds(partial(orthogonalised, matrices, 5)))
        ratio = statistics.median(times[exact.dtype]) / statistics.median(times[rounded.dtype])
        direction = orthogonalised(exact, 5)
        difference = (orthogonalised(rounded, 5).float() - direction).norm() / direction.norm()
        print(f"| {' × '.join(map(str, shape))} | {ratio:.2f} | {difference:.1%} |")


def seconds(work: Callable[[], Any]) -> float:
    """CPU time: other processes of the machine count as little as they can."""
    started = time.process_time()
    work()
    return time.process_time() - started


def trained(shards: Path, kind: str, lr: float, seed: int, steps: int, apart: bool) -> float:
    """The held-out loss after a small run."""
    training = {
        "sequence_length": 256,
        "batch_tokens": 1024,
        "tokens": 1024 * steps,
        "optimizer": {"kind": kind, "lr": lr},
        "schedule": {"kind": "cosine", "warmup_steps": min(20, steps)},
        "validate_every": steps,
    }
    with tempfile.TemporaryDirectory() as work:
        spec = TrainerSpec(
            model=SMALL,
            training=TrainingSpec.model_validate(training),
            vocab_size=ShardReader(shards, "train").vocab_size,
            seed=seed,
            shards=shards.resolve(),
            work=Path(work),
            checkpoint_every=steps,
        )
        loop.build_model = build_model if apart else joined  # type: ignore[assignment]
        loop.train(spec, World(0, 1, CPU), StopRequest(), lambda _: None)
        loss: float = read_metrics(Path(work) / METRICS)[-1]["validation_loss"]
    return loss


def joined(spec: ModelSpec, vocab_size: int) -> Decoder:
    """A model whose fused maps an optimiser takes for single matrices."""
    model = build_model(spec, vocab_size)
    for module in model.modules():
        if isinstance(module, Fused):
            module.fused = {}
    return model


if __name__ == "__main__":
    main()
