"""Whether the best learning rate of a small model is that of a larger one, with a parametrisation and without.

    python -m benchmarks.rate_transfer EXPERIMENT.yaml [--base 32x2] [--target 48x8] [--steps 1000] [--seeds 2]

Shapes are width x layers. The model and training of EXPERIMENT count, and its token shards, which are made if they are
missing. The regret is what the target loses at the best rate of the base, over the best of its own sweep: both from the
parabola through the losses of the sweep, averaged over the seeds.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch
from rich.console import Console

from llm_core.experiment.base import from_plain
from llm_core.experiment.component import over
from llm_core.experiment.model import ModelSpec
from llm_core.experiment.training import TrainingSpec
from llm_core.model.accounting import scaling_parameters
from llm_core.science.learning_rate import BestRate, best_rate
from llm_core.train import loop
from llm_core.train.distribution import World
from llm_core.train.interruption import StopRequest
from llm_core.train.metrics_log import METRICS, read_metrics
from llm_core.train.spec import TrainerSpec
from pipelines import show
from pipelines.session import Session, open_session

NOISE = 0.002
"""Standard deviation of a run's loss between seeds, as a share; for the weights of the parabola only."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiment")
    parser.add_argument("--base", type=shape, default=(32, 2))
    parser.add_argument("--target", type=shape, default=(48, 8))
    parser.add_argument("--rates", type=float, nargs="+", default=[0.002, 0.004, 0.008, 0.016, 0.032])
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--kinds", nargs="+", default=["completep", "none"])
    arguments = parser.parse_args()
    session = open_session(arguments.experiment)
    show.run(Console(stderr=True), session, {"token_shards"})
    print(f"{arguments.steps} steps, {arguments.seeds} seeds; held-out loss in nats per token\n")
    rates = " | ".join(f"{rate:g}" for rate in arguments.rates)
    print(f"| parametrisation | width x layers | parameters | {rates} | best rate |")
    print(f"|{'---|' * (4 + len(arguments.rates))}")
    for kind in arguments.kinds:
        bests: list[BestRate] = []
        for width, layers in (arguments.base, arguments.target):
            base = {"kind": kind, "base_width": arguments.base[0], "base_layers": arguments.base[1]}
            model = shaped(session.experiment.model, width, layers, None if kind == "none" else base)
            losses = [
                np.mean([trained(session, model, rate, arguments.steps, seed) for seed in range(arguments.seeds)])
                for rate in arguments.rates
            ]
            best = best_rate(arguments.rates, np.log(losses), NOISE)
            bests.append(best)
            size = scaling_parameters(model, session.experiment.tokenizer.vocab_size)
            cells = " | ".join(f"{loss:.4f}" for loss in losses)
            edge = " (at an edge)" if best.at_edge else ""
            print(f"| {kind} | {width}x{layers} | {size:,} | {cells} | {best.rate:.4g}{edge} |", flush=True)
        regret = bests[1].regret(bests[0].rate)
        lost = "not known" if regret is None else f"{regret:.2%} of the loss"
        print(f"\nregret at the target with {kind}: {lost}\n", flush=True)


def shape(text: str) -> tuple[int, int]:
    """``48x8`` → width, layers."""
    width, layers = text.split("x")
    return int(width), int(layers)


def shaped(model: ModelSpec, width: int, layers: int, parametrization: dict[str, object] | None) -> ModelSpec:
    """The model with this shape; feed-forward and heads in proportion to the width."""
    mixer, feed_forward = model.mixer.narrowed(model.d_model, width), model.feed_forward
    assert feed_forward is not None
    changes = {
        "d_model": width,
        "n_layers": layers,
        "mixer": mixer.model_dump(mode="json"),
        "feed_forward": feed_forward.narrowed(model.d_model, width).model_dump(mode="json"),
        "parametrization": parametrization,
    }
    return from_plain(ModelSpec, {**model.model_dump(mode="json"), **changes})


def trained(session: Session, model: ModelSpec, rate: float, steps: int, seed: int) -> float:
    """The last held-out loss of a run."""
    experiment = session.experiment
    shards = session.planner().look("token_shards")[-1].artifact
    assert shards is not None
    changes = {
        "tokens": steps * experiment.training.batch_tokens,
        "optimizer": {"lr": rate},
        "schedule": {"kind": "wsd", "warmup_steps": steps // 20, "cooldown_steps": steps // 5, "final_share": 0.0},
        "validate_every": steps,
    }
    training = from_plain(TrainingSpec, over(experiment.training.model_dump(mode="json"), changes))
    with tempfile.TemporaryDirectory() as work:
        spec = TrainerSpec(
            model=model,
            training=training,
            vocab_size=experiment.tokenizer.vocab_size,
            seed=seed,
            shards=shards.path,
            work=Path(work),
            micro_batch=experiment.compute.micro_batch,
            checkpoint_every=10**9,
        )
        loop.train(spec, World(0, 1, torch.device("cpu")), StopRequest(), lambda _: None)
        return float(read_metrics(Path(work) / METRICS)[-1]["validation_loss"])


if __name__ == "__main__":
    main()
