"""Tokens per second of training steps, ours beside those of `transformers` and `litgpt`: `python -m benchmarks.train`.

Equal on all sides: shape, initial weights (copied), batches and their order, bf16 autocast over fp32 weights, fused
AdamW with decay on matrices, clipping at 1, the loop. Models are called as their projects do: `transformers` with
labels, `litgpt` with its chunked loss, ours with targets. *compiled*: ours block by block, as the trainer does it,
theirs as a whole. Rates are medians of `--repeats` stretches of `--stretch` steps, which take turns, after `--steps`
steps; the loss is that of their last one.

*tiny, plain* is the shape of `pipelines/experiments/tiny.yaml` as a Llama, without what `litgpt` has not (a document
mask). *tiny* is the same with QK-norm and document mask, beside `transformers`' Qwen3, which gets the mask as a tensor.

*of the machine*: the FLOPs of a step (`llm_core.model.accounting`) over the rate of a large bf16 product, measured in
between. *of the products*: what a step's products with matrices take alone, at their shapes, over what the step takes.

For models of a billion parameters on a GPU, see `benchmarks.gpu`; `--toy` tries the script in a minute. `litgpt` wants
packages older than ours: `pip install --no-deps --target DIR litgpt lightning lightning-utilities torchmetrics
jsonargparse`, then `PYTHONPATH=DIR`. `--shards` takes real text (a folder of the artifact `token_shards`); made text is
a chain of tokens that can be learned.
"""

import argparse
import functools
import os
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.train_peers import Batch, Contender, litgpt, missing, ours, transformers
from llm_core.experiment.component import over
from llm_core.experiment.model import ModelSpec
from llm_core.model.accounting import flops_per_token
from llm_core.tokens.loader import Loader
from llm_core.tokens.reader import ShardReader

TINY = {
    "d_model": 256,
    "n_layers": 3,
    "mixer": {"kind": "attention", "n_heads": 4, "n_kv_heads": 2},
    "feed_forward": {"kind": "swiglu", "d_ff": 704},
}
TOY = {
    "d_model": 32,
    "n_layers": 2,
    "mixer": {"kind": "attention", "n_heads": 2, "n_kv_heads": 1},
    "feed_forward": {"kind": "swiglu", "d_ff": 48},
}
LARGE = 2048
"""Rows and columns of the product that stands for what the machine can do."""


@functools.cache
def made_text(vocab_size: int, tokens: int) -> np.ndarray:
    """A chain: every token has one that follows it half of the time, else one by Zipf's law."""
    rng = np.random.default_rng(0)
    follower = rng.permutation(vocab_size)
    drawn = np.minimum(rng.zipf(1.2, tokens) - 1, vocab_size - 1)
    follows = rng.random(tokens) < 0.5
    text = np.empty(tokens, dtype=np.int64)
    text[0] = 0
    for place in range(1, tokens):
        text[place] = follower[text[place - 1]] if follows[place] else drawn[place]
    return text


def batches(shards: Path | None, vocab_size: int, rows: int, length: int, device: torch.device) -> Iterator[Batch]:
    """Batches of real text, or of made text in documents of about half a row."""
    if shards is not None:
        loader = Loader(ShardReader(shards, "train"), length, rows, 0, "concat")
        step = 0
        while True:
            yield Batch(*(torch.from_numpy(np.array(part)).to(device) for part in loader.batch(step)))
            step += 1
    text, rng = torch.from_numpy(made_text(vocab_size, 400_000)), np.random.default_rng(1)
    while True:
        starts = rng.integers(0, len(text) - length - 1, rows)
        windows = torch.stack([text[start : start + length + 1] for start in starts]).to(device)
        ends = torch.from_numpy(rng.random((rows, length)) < 2 / length).to(device)
        yield Batch(windows[:, :-1].contiguous(), windows[:, 1:].contiguous(), ends.cumsum(1).to(torch.int32))


class Trainee:
    """A contender with its optimiser and its own place in the batches."""

    def __init__(self, contender: Contender, stream: Iterator[Batch], lr: float) -> None:
        self.name, self.model, self.loss = contender
        self.stream = stream
        parameters = list(self.model.parameters())
        groups = [
            {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": 0.1},
            {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.95), fused=True)
        self.rates: list[float] = []

    def train(self, steps: int) -> float:
        """The loss of the last of so many steps."""
        loss = torch.zeros(())
        for _ in range(steps):
            batch = next(self.stream)
            with torch.autocast(batch.tokens.device.type, dtype=torch.bfloat16):
                loss = self.loss(batch)
            loss.backward()
            nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
        return loss.item()


def seconds(work: Callable[[], object], repeats: int = 1) -> float:
    started = time.perf_counter()
    for _ in range(repeats):
        work()
    return (time.perf_counter() - started) / repeats


def large_product() -> Callable[[], Tensor]:
    a, b = (torch.randn(LARGE, LARGE).bfloat16() for _ in range(2))
    return lambda: a @ b


def products(model: nn.Module, tokens: int) -> Callable[[], None]:
    """All products with matrices of a step, at their shapes: forward, and by input and weight backward."""
    weights = [module.weight for module in model.modules() if isinstance(module, nn.Linear | nn.Embedding)]
    cases = []
    for out, width in (weight.shape for weight in weights):
        cases.append((torch.randn(tokens, width).bfloat16(), torch.randn(out, width).bfloat16()))

    def work() -> None:
        for x, w in cases:
            y = x @ w.T
            _ = y @ w, y.T @ x

    return work


def compare(title: str, spec: ModelSpec, vocab_size: int, compiled: bool, options: argparse.Namespace) -> None:
    """Rows of the table for one shape and mode."""
    rows, length = (2, 16) if options.toy else (8, 256)
    device = torch.device("cpu")

    def stream() -> Iterator[Batch]:
        return batches(options.shards, vocab_size, rows, length, device)

    first = ours(spec, vocab_size, device, compiled)
    weights = {name: tensor.clone() for name, tensor in first.model.state_dict().items()}
    contenders = [first]
    if not missing(("transformers",)):
        contenders.append(transformers(spec, vocab_size, weights, compiled))
    if not missing(("litgpt",)) and not spec.document_mask:
        contenders.append(litgpt(spec, vocab_size, weights, compiled))
    trainees = [Trainee(contender, stream(), 1.5e-3) for contender in contenders]
    losses = [trainee.train(options.steps) for trainee in trainees]
    product, step_products = large_product(), products(first.model, rows * length)
    peaks, floors = [], []
    for _ in range(options.repeats):
        for trainee in trainees:
            taken = seconds(lambda trainee=trainee: trainee.train(options.stretch))
            trainee.rates.append(options.stretch * rows * length / taken)
        peaks.append(2 * LARGE**3 / seconds(product))
        floors.append(seconds(step_products))
    peak, floor = statistics.median(peaks), statistics.median(floors)
    best = max((statistics.median(trainee.rates) for trainee in trainees[1:]), default=None)
    flops = flops_per_token(spec, vocab_size, length)
    for trainee, loss in zip(trainees, losses, strict=True):
        rate = statistics.median(trainee.rates)
        share = "" if best is None or trainee is not trainees[0] else f" **{rate / best:.2f}×**"
        print(
            f"| {title} | {'compiled' if compiled else 'eager'} | {trainee.name} | {rate:,.0f}{share} | "
            f"{min(trainee.rates):,.0f} to {max(trainee.rates):,.0f} | {rate * flops / peak:.0%} | "
            f"{floor * rate / (rows * length):.0%} | {loss:.4f} |",
            flush=True,
        )
    print(f"<!-- {title}: large product {peak / 1e9:,.0f} GFLOP/s, products of a step {floor * 1e3:.0f} ms -->")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=Path)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--stretch", type=int, default=5, help="steps of a repeat")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--modes", nargs="+", choices=("eager", "compiled"), default=("eager", "compiled"))
    parser.add_argument("--toy", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    for name in missing(("transformers", "litgpt")):
        print(f"{name} is not installed: no rows of it")
    vocab_size, shape = (64, TOY) if options.toy else (4096, TINY)
    print(f"torch {torch.__version__}, {options.threads} threads\n")
    print("| shape | mode | who | tokens/s | spread | of the machine | of the products | loss |")
    print("|---|---|---|---|---|---|---|---|")
    both: dict[str, Any] = {"mixer": {"qk_norm": True}, "document_mask": True}
    for title, changes in (("tiny, plain", {}), ("tiny", both)):
        for mode in options.modes:
            compare(title, ModelSpec.model_validate(over(shape, changes)), vocab_size, mode == "compiled", options)


if __name__ == "__main__":
    main()
