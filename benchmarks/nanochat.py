"""nanochat's recipe beside ours (Karpathy, nanochat, 2025–2026): equal batches and time, bits per byte by equal code.

``python -m benchmarks.nanochat --nanochat CLONE --text FILE.jsonl.zst [--ours EXPERIMENT.yaml …] [--seconds 240]``

Both train in fp32, on one thread, on the batches of our loader, in this process, in turns. ``--text`` becomes shards
through the store, with a vocabulary of 4,096. Of each EXPERIMENT (by default nanochat_ours.yaml),
the sections ``model`` and ``training`` count. Where
its batches are other than nanochat's (``--batch-tokens``, ``--sequence-length``), the table shows it. nanochat has the
shape of ``--depth`` and its like, and the rates of its own rules times each of ``--multiples``.

A run has as many steps as ``--seconds`` allow by the speed of short runs before, or ``--steps``. Schedules cover the
whole run: our warm-up, cooldown and phases keep their shares of it. Time is that of steps, with their batches: no
validation, no checkpoint; steps that compile count as the median step. ``--clock cpu`` counts the time of this process,
for a machine with other work. That work still slows a step (by a third where it was tried): runs are comparable where
the column of seconds is equal. ``wall`` is the clock on the wall. Compiled, nanochat is one graph, as its script does
it, and ours one per block, as our trainer does it (this needs a C++ compiler); ``--eager``: neither.
"""

import argparse
import statistics
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import yaml
from rich.console import Console
from torch import nn

from benchmarks.nanochat_recipe import Nanochat, Scored, Shape, import_nanochat
from llm_core.experiment.base import from_plain
from llm_core.experiment.load import load_experiment
from llm_core.experiment.model import ModelSpec
from llm_core.experiment.training import TrainingSpec
from llm_core.store.home import pedigree_home
from llm_core.tokens.byte_lengths import byte_lengths
from llm_core.tokens.loader import open_loader
from llm_core.tokens.reader import ShardReader
from llm_core.train import loop
from llm_core.train.distribution import World
from llm_core.train.interruption import StopRequest
from llm_core.train.metrics_log import METRICS, read_metrics
from llm_core.train.metrics_readback import MetricsReadback
from llm_core.train.spec import TrainerSpec
from llm_core.train.validation import measure
from pipelines import show
from pipelines.session import open_session

OURS = Path(__file__).with_name("nanochat_ours.yaml")
ALONE = World(0, 1, torch.device("cpu"))
ANY_MODEL = {"preset": "tiny_llama3"}
"""For what asks for a model of ours and does not use it."""
VOCABULARY = 4096
SHORT = 16
"""Steps of the run that measures the speed."""

Clock = Callable[[], float]


@dataclass(frozen=True)
class Text:
    """Artifacts of the text, and how many held-out tokens a run is judged by."""

    shards: Path
    tokenizer: Path
    validation_tokens: int


@dataclass(frozen=True)
class Outcome:
    """``steps``: (tokens, seconds) of each. ``batches``: the digest of what each step read."""

    bits_per_byte: float
    steps: list[tuple[int, float]]
    batches: list[str]

    @property
    def tokens(self) -> int:
        """All that it read."""
        return sum(tokens for tokens, _ in self.steps)

    def seconds(self, typical: bool = False) -> float:
        """Of all steps; the first of each size, which compiles, counts as their median. ``typical``: all steps do."""
        sizes = defaultdict(list)
        for tokens, seconds in self.steps:
            sizes[tokens].append(seconds)
        medians = {size: statistics.median(found) for size, found in sizes.items()}
        return sum(
            medians[size] * len(found) if typical else medians[size] + sum(found[1:]) for size, found in sizes.items()
        )


@dataclass(frozen=True)
class Side:
    """A contender. ``run``: a run on the text, of so many steps, from a seed."""

    name: str
    model: nn.Module
    batch: str
    run: Callable[[Text, int, int], Outcome]


def main() -> None:
    """Measure and print."""
    options = parsed()
    torch.set_num_threads(1)
    clock: Clock = {"cpu": time.process_time, "wall": time.perf_counter}[options.clock]
    text = made(options.text, options.validation_tokens)
    sides = [ours(path, clock, not options.eager) for path in options.ours]
    sides += [theirs(multiple, options, clock) for multiple in options.multiples]
    print(
        f"{options.text.name}, nanochat {commit(options.nanochat)}, torch {torch.__version__}, one thread, fp32, "
        f"{'eager' if options.eager else 'compiled'}, {options.clock} time, {text.validation_tokens:,} "
        "held-out tokens\n"
    )
    planned = [options.steps] * len(sides)
    if not options.steps:
        planned = [max(2, round(options.seconds / speed)) for speed in measured(sides, text, options.rounds)]
    print("| who | parameters | batch | seed | bits/byte | steps | tokens | seconds | ms/step |")
    print("|---|---|---|---|---|---|---|---|---|")
    read: dict[tuple[str, int], list[list[str]]] = defaultdict(list)
    for seed in options.seeds:
        for side, count in zip(sides, planned, strict=True):
            found = side.run(text, count, seed)
            read[side.batch, seed].append(found.batches)
            seconds = found.seconds()
            parameters = sum(weight.numel() for weight in side.model.parameters())
            print(
                f"| {side.name} | {parameters:,} | {side.batch} | {seed} | {found.bits_per_byte:.4f} | {count:,} | "
                f"{found.tokens:,} | {seconds:.0f} | {1000 * seconds / count:.0f} |",
                flush=True,
            )
    for (batch, seed), digests in read.items():
        equal = all(len(set(step)) == 1 for step in zip(*digests, strict=False))
        print(f"\nBatches of {batch}, seed {seed}: {'equal' if equal else 'not equal'} for {len(digests)} runs.")


def parsed() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nanochat", type=Path, required=True, metavar="CLONE")
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--ours", type=Path, nargs="*", default=[OURS], metavar="EXPERIMENT")
    parser.add_argument(
        "--multiples", type=float, nargs="*", default=[4, 8, 16], help="of the rates of nanochat's rules"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--seconds", type=float, default=240)
    parser.add_argument("--steps", type=int, help="steps of every run, instead of --seconds")
    parser.add_argument("--clock", choices=("cpu", "wall"), default="cpu")
    parser.add_argument("--rounds", type=int, default=3, help="short runs of each side for its speed, in turns")
    parser.add_argument("--validation-tokens", type=int, default=131_072)
    parser.add_argument("--eager", action="store_true")
    parser.add_argument("--batch-tokens", type=int, default=2048)
    parser.add_argument("--sequence-length", type=int, default=256)
    parser.add_argument("--depth", type=int, default=4)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--heads", type=int, default=1)
    parser.add_argument("--window", default="L", help="L: full windows, as its script advises without FlashAttention 3")
    return parser.parse_args()


def made(path: Path, validation_tokens: int) -> Text:
    """Shards and tokenizer of the text, made through the store."""
    name = path.name.split(".")[0]
    experiment = {
        "name": f"nanochat_{name}",
        "raw": {"sources": [{"kind": "files", "name": name, "paths": [str(path.resolve())]}]},
        "split": {"heldout_share": 0.04},
        "tokenizer": {"vocab_size": VOCABULARY},
        "model": ANY_MODEL,
        "training": {"batch_tokens": 2048, "tokens": 2048},
        "checks": {"max_drop_share": 1.0, "max_duplicate_share": 1.0},
    }
    folder = pedigree_home() / "nanochat"
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{name}.yaml"
    file.write_text(yaml.safe_dump(experiment), encoding="utf-8")
    session = open_session(str(file))
    show.run(Console(stderr=True), session, {"token_shards"})
    items = {item.stage: item.artifact for item in session.planner().plan({"token_shards"})}
    shards, tokenizer = items["token_shards"], items["tokenizer"]
    if shards is None or tokenizer is None:
        raise SystemExit(f"{path}: token_shards was not made")
    return Text(shards.path, tokenizer.path / "tokenizer.json", validation_tokens)


def measured(sides: list[Side], text: Text, rounds: int) -> list[float]:
    """Seconds per step, the least of all rounds: other work on the machine can only make a step slower."""
    short = replace(text, validation_tokens=1)
    turns = [[side.run(short, SHORT, 0).seconds(typical=True) / SHORT for side in sides] for _ in range(rounds)]
    return [min(found) for found in zip(*turns, strict=True)]


def ours(path: Path, clock: Clock, compiled: bool) -> Side:
    """Our trainer, with the model and training of the experiment at ``path``."""
    experiment = load_experiment(path)
    model, training = experiment.model, experiment.training

    def run(text: Text, steps: int, seed: int) -> Outcome:
        torch.compiler.reset()
        with tempfile.TemporaryDirectory() as work, marks_of(clock):
            spec = trainer_spec(text, Path(work), model, of_steps(training, steps), seed, compiled)
            loop.train(spec, ALONE, StopRequest(), lambda _: None)
            rows: list[dict[str, Any]] = read_metrics(Path(work) / METRICS)
        ends = [0, *(row["tokens"] for row in rows)]
        taken = [(end - start, row["seconds"]) for (start, end), row in zip(pairwise(ends), rows, strict=True)]
        return Outcome(rows[-1]["validation_bits_per_byte"], taken, [row["batch"] for row in rows])

    batch = f"{training.batch_tokens:,} by {training.sequence_length}"
    return Side(path.stem, loop.build_model(model, VOCABULARY), batch, run)


def theirs(multiple: float, options: argparse.Namespace, clock: Clock) -> Side:
    """nanochat with the rates of its rules times ``multiple``."""
    gpt = import_nanochat(options.nanochat)
    shape = Shape(options.depth, options.width, options.heads, options.window)
    tokens, length = options.batch_tokens, options.sequence_length

    def side(steps: int, seed: int) -> Nanochat:
        return Nanochat(gpt, shape, VOCABULARY, length, tokens, steps, multiple, seed, not options.eager)

    def run(text: Text, steps: int, seed: int) -> Outcome:
        training = TrainingSpec(sequence_length=length, batch_tokens=tokens, tokens=tokens * steps, precision="fp32")
        torch.compiler.reset()  # it stops after so many versions of a function, of all runs together
        loader, nanochat = open_loader(text.shards, training, seed), side(steps, seed)
        taken = []
        for step in range(steps):
            begin = clock()
            nanochat.step(step, loader.batch(step))
            taken.append((tokens, clock() - begin))
        spec = trainer_spec(text, Path(), ModelSpec.model_validate(ANY_MODEL), training, seed, compiled=False)
        bytes_V = torch.from_numpy(byte_lengths(text.tokenizer, VOCABULARY))
        bits = measure(Scored(nanochat.model), ShardReader(text.shards, "heldout"), spec, ALONE, bytes_V).bits_per_byte
        assert bits is not None
        return Outcome(bits.item(), taken, [loader.digest(step) for step in range(steps)])

    return Side(f"nanochat, rates × {multiple:g}", side(1, 0).model, f"{tokens:,} by {length}", run)


def trainer_spec(
    text: Text, work: Path, model: ModelSpec, training: TrainingSpec, seed: int, compiled: bool
) -> TrainerSpec:
    """A run with one validation, at its end."""
    once = {"validate_every": training.steps, "validation_tokens": text.validation_tokens}
    return TrainerSpec(
        model=model,
        training=training.model_copy(update=once),
        vocab_size=VOCABULARY,
        seed=seed,
        shards=text.shards,
        work=work,
        tokenizer=text.tokenizer,
        micro_batch=training.batch_size,
        checkpoint_every=training.steps,
        compile=compiled,
    )


def of_steps(training: TrainingSpec, steps: int) -> TrainingSpec:
    """``training`` in fp32 and in ``steps`` steps: warm-up, cooldown and phases keep their shares of the run."""
    share = steps / training.steps
    fields = training.model_dump(mode="json")
    for name in ("warmup_steps", "cooldown_steps"):
        if name in fields["schedule"]:
            fields["schedule"][name] = int(share * fields["schedule"][name])
    for name in ("batch_schedule", "sequence_schedule"):
        starts = {round(share * phase["from_step"]): phase for phase in fields[name]}
        fields[name] = [phase | {"from_step": start} for start, phase in starts.items()]
    if fields["superposition"]:
        fields["superposition"]["steps"] = max(1, int(share * fields["superposition"]["steps"]))
    sizes = [(phase["from_step"], phase["batch_tokens"]) for phase in fields["batch_schedule"]]
    ends = [*(start for start, _ in sizes[1:]), steps]
    tokens = sum((end - start) * size for (start, size), end in zip(sizes, ends, strict=False))
    changes = {"tokens": tokens or steps * training.batch_tokens, "precision": "fp32", "branch_points": []}
    return from_plain(TrainingSpec, fields | changes)


@contextmanager
def marks_of(clock: Clock) -> Iterator[None]:
    """Our trainer's time stamps are those of ``clock``."""
    kept = MetricsReadback.mark
    MetricsReadback.mark = lambda _: clock()  # type: ignore[method-assign]
    try:
        yield
    finally:
        MetricsReadback.mark = kept  # type: ignore[method-assign]


def commit(clone: Path) -> str:
    """The commit of the clone."""
    order = ["git", "-C", clone, "rev-parse", "--short", "HEAD"]
    return subprocess.run(order, capture_output=True, text=True, check=False).stdout.strip() or "without git"


if __name__ == "__main__":
    main()
