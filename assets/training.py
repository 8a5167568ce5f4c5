"""The full run, and what it has in common with the proxy runs."""

from llm_core.experiment.experiment import Experiment
from llm_core.experiment.model import ModelSpec
from llm_core.experiment.training import TrainingSpec
from llm_core.graph.stage import Stage

TRAINER = "llm_core.train.loop:train"
"""Runs in a process of its own, so the build function does not reach it."""


def training_run(
    name: str, group: str, description: str, experiment: Experiment, model: ModelSpec, training: TrainingSpec
) -> Stage:
    """A stage that trains ``model`` on the shards. Equal runs are one artifact, whatever their names."""
    return Stage(
        name=name,
        kind="training_run",
        group=group,
        description=description,
        build="llm_core.train.stage:build",
        checks="llm_core.train.stage:checks",
        gates=("loss_finite", "loss_fell", "bad_steps", "all_tokens_seen"),
        code=(TRAINER,),
        inputs={"shards": "token_shards"},
        config={
            "model": model,
            "training": training,
            "vocab_size": experiment.tokenizer.vocab_size,
            "seed": experiment.seed,
        },
        bounds=experiment.checks,
        volatile=("metrics.jsonl", "wandb/*"),
        volatile_stats=("tokens_per_second", "seconds_training", "peak_memory_bytes", "mfu", "device", "ranks"),
        resumable=True,
        trains=True,
    )


def stages(experiment: Experiment) -> list[Stage]:
    """The one run that everything else prepares."""
    return [
        training_run(
            "pretrained_model",
            "training",
            "The full run: weights, and a line of metrics for every step.",
            experiment,
            experiment.model,
            experiment.training,
        )
    ]
