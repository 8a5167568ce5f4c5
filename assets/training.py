"""The full run, the runs that continue it, and the function that declares any training run."""

from collections.abc import Mapping
from typing import Any

from llm_core.experiment.callbacks import all_outputs
from llm_core.experiment.experiment import IMPORTED, Experiment
from llm_core.experiment.model import ModelSpec
from llm_core.experiment.training import TrainingSpec
from llm_core.graph.stage import Stage
from llm_core.registries import HF_FAMILIES

TRAIN_PACKAGES = {"torch": "train", "safetensors": "train"}
"""Packages of all stages that load a model, and our extra that installs them."""

TRAINER = (
    "llm_core.train.loop:train",
    "llm_core.train.distribution:open_world",
    "llm_core.train.spec:read_spec",
)
"""The code that decides the weights in the training process. ``llm_core.train.main`` only starts and ends it.

The code runs in another process, so the digest of the build function does not reach it."""

READ = {"shards": "token_shards", "tokenizer": "tokenizer"}
"""The inputs of every run. The tokenizer turns its samples into text."""

SOUND = (":loss_finite", ":bad_steps", ":all_tokens_seen")
"""The checks of every run."""


def stages(experiment: Experiment) -> list[Stage]:
    """The model that the experiment starts from, the full run, its cooldown branches, and the same model for longer
    contexts."""
    return [*_imported(experiment), *_full_run(experiment)]


def _imported(experiment: Experiment) -> list[Stage]:
    """The model in ``start``; empty without one."""
    if experiment.start is None:
        return []
    tunings = list(experiment.tunings().values())
    return [
        Stage(
            name=IMPORTED,
            group="training",
            description="A finished model, with its tokenizer, whose weights are trained further.",
            build="llm_core.model.imported_model:build",
            results="llm_core.model.results:ImportedModel",
            source_digests=":source_digests",
            look_up=":look_up",
            non_blocking=(":tokenizer_known",),
            config={
                "start": experiment.start,
                "model": experiment.model,
                "vocab_size": experiment.tokenizer.vocab_size,
                "tokenizer": experiment.tokenizer,
                "template": tunings[0].jinja() if tunings else None,
                "families": families(),
            },
            bounds=experiment.checks,
            packages=TRAIN_PACKAGES,
        )
    ]


def _full_run(experiment: Experiment) -> list[Stage]:
    if experiment.training is None:
        return []
    told = (
        "pretrained_model",
        "training",
        "The full run: weights, and one line of metrics per step.",
        experiment,
        experiment.model,
        experiment.training,
    )
    gates = experiment.gates()
    pretrained = started_run(*told, start=IMPORTED) if experiment.start else training_run(*told, gates=gates)
    branches = [
        branch_run(
            f"cooldown_runs/{name}",
            "training",
            f"The full run from step {branch.from_step} on, cooled down over {branch.steps} steps.",
            experiment,
            experiment.model,
            branch.training(experiment.training),
            start=pretrained.name,
            from_step=branch.from_step,
        )
        for name, branch in experiment.branches.items()
    ]
    return [pretrained, *branches, *_long_context(experiment, pretrained)]


def _long_context(experiment: Experiment, pretrained: Stage) -> list[Stage]:
    longer = experiment.long_context
    if longer is None:
        return []
    return [
        started_run(
            "long_context_model",
            "training",
            f"The full run's model, trained further on sequences of {longer.training.sequence_length} tokens.",
            experiment,
            longer.model(experiment.model),
            longer.training,
            start=pretrained.name,
        )
    ]


def started_run(
    name: str,
    group: str,
    description: str,
    experiment: Experiment,
    model: ModelSpec,
    training: TrainingSpec,
    *,
    start: str,
    shards: str = READ["shards"],
    gates: tuple[str, ...] = (),
) -> Stage:
    """A stage that trains the final weights of the stage ``start`` further, with a new optimiser. ``shards``: the stage
    of its tokens."""
    return _run(
        name,
        group,
        description,
        experiment,
        model,
        training,
        build="llm_core.train.training_run:build_longer",
        blocking=SOUND,
        non_blocking=(":heldout_loss_fell",),
        inputs={"shards": shards, "tokenizer": READ["tokenizer"], "start": start},
        gates=gates,
    )


def training_run(
    name: str,
    group: str,
    description: str,
    experiment: Experiment,
    model: ModelSpec,
    training: TrainingSpec,
    *,
    seed: int | None = None,
    compute: Mapping[str, Any] | None = None,
    gates: tuple[str, ...] = (),
    read: Mapping[str, str] = READ,
    tried: bool = False,
) -> Stage:
    """A stage that trains ``model`` on the shards. Equal runs share one artifact, whatever their names and ``compute``.

    ``read``: the stages of its shards and tokenizer. ``seed``: by default the experiment's. ``compute``: overrides of
    the experiment's ``compute`` for this run. ``tried``: whether a run that is not sound is a finding, which stops
    nothing.
    """
    checks = (*SOUND, ":loss_fell")
    return _run(
        name,
        group,
        description,
        experiment,
        model,
        training,
        build="llm_core.train.training_run:build",
        blocking=() if tried else checks,
        non_blocking=checks if tried else (),
        inputs=read,
        seed=seed,
        compute=compute or {},
        gates=gates,
    )


def branch_run(
    name: str,
    group: str,
    description: str,
    experiment: Experiment,
    model: ModelSpec,
    training: TrainingSpec,
    *,
    start: str,
    from_step: int,
    seed: int | None = None,
    compute: Mapping[str, Any] | None = None,
) -> Stage:
    """A stage that continues the state at ``from_step`` of the stage ``start``, which keeps it as a branch point."""
    return _run(
        name,
        group,
        description,
        experiment,
        model,
        training,
        build="llm_core.train.training_run:build_branch",
        blocking=SOUND,
        non_blocking=(":heldout_loss_fell",),
        inputs={**READ, "start": start},
        more_config={"from_step": from_step},
        seed=seed,
        compute=compute or {},
    )


def _run(
    name: str,
    group: str,
    description: str,
    experiment: Experiment,
    model: ModelSpec,
    training: TrainingSpec,
    *,
    more_config: dict[str, Any] | None = None,
    seed: int | None = None,
    **fields: Any,
) -> Stage:
    return Stage(
        name=name,
        kind="training_run",
        group=group,
        description=description,
        results="llm_core.train.results:TrainingResults",
        code=TRAINER,
        config={
            "model": model,
            "training": training,
            "vocab_size": experiment.tokenizer.vocab_size,
            "seed": experiment.seed if seed is None else seed,
            **(more_config or {}),
        },
        bounds=experiment.checks,
        # The identity determines the states at branch points, but each rank writes its own file.
        volatile=(*all_outputs(), "branch_points/*"),
        trains=True,
        packages=TRAIN_PACKAGES,
        requirements="llm_core.train.requirements:check",
        cost="llm_core.train.cost_estimate:estimate_cost",
        **fields,
    )


def families() -> tuple[str, ...]:
    """All Hugging Face families. Those of plug-ins are checked here: an export fails only after the training."""
    for name in HF_FAMILIES:
        HF_FAMILIES.check_plugin(name)
    return tuple(HF_FAMILIES)
