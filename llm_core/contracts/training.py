"""What holds for every optimiser and every callback: tried in small trainings."""

import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from llm_core.contracts import settings
from llm_core.contracts.components import BASE
from llm_core.contracts.example import Check, Example
from llm_core.contracts.shards import VOCABULARY, write_shards
from llm_core.experiment.model import ModelSpec
from llm_core.experiment.optimization import GroupSpec
from llm_core.experiment.runtime import TrackingSpec
from llm_core.experiment.training import TrainingSpec
from llm_core.train.callbacks.base import EVENTS, Callback
from llm_core.train.callbacks.untouched import overridden
from llm_core.train.distribution import World
from llm_core.train.interruption import StopRequest
from llm_core.train.loop import train
from llm_core.train.parameter_groups import DECAYED, parameters_by_kind
from llm_core.train.spec import FINAL, TrainerSpec
from llm_core.train.work_folder import claim

STEPS = 4


class _Parts(nn.Module):
    """One parameter of every kind that models have."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(10, 4)
        self.block = nn.Sequential(nn.RMSNorm(4), nn.Linear(4, 3), nn.Conv1d(4, 4, 3, groups=4))
        self.experts = nn.Parameter(torch.ones(2, 4, 3))
        self.head = nn.Linear(4, 10, bias=False)


def _with_gradients(example: Example) -> tuple[nn.Module, Any]:
    torch.manual_seed(0)
    model = _Parts()
    optimizer = example.component().build(model, torch.device("cpu"), "fp32")
    example.hold(isinstance(optimizer, torch.optim.Optimizer), "build must return a torch.optim.Optimizer")
    for parameter in model.parameters():
        parameter.grad = torch.rand_like(parameter) + 0.5
    return model, optimizer


_GROUPS = "make the groups with llm_core.train.parameter_groups.parameter_groups"


def has_the_groups_of_its_parameters(example: Example) -> None:
    """A group for each kind, where gains and biases do not decay."""
    model, optimizer = _with_gradients(example)
    groups, advice = optimizer.param_groups, _GROUPS
    whole = all({"kind", "rule", "lr_ratio", "weight_decay", "scheduled"} <= group.keys() for group in groups)
    example.hold(whole, f"its groups have no kind, rule, lr_ratio, weight_decay or scheduled: {advice}")
    wanted = {kind: [id(p) for p in parameters] for kind, parameters in parameters_by_kind(model).items()}
    found = {group["kind"]: [id(p) for p in group["params"]] for group in groups}
    example.hold(found == wanted, f"its groups do not contain every parameter once, by kind: {advice}")
    decay = example.component().weight_decay
    right = all(group["weight_decay"] == (decay if group["kind"] in DECAYED else 0) for group in groups)
    example.hold(right, f"gains and biases decay, or matrices do not: {advice}")


def takes_the_settings_of_each_group(example: Example) -> None:
    """``groups`` reach the groups, and a group whose rate is 0 does not move."""
    own = GroupSpec(lr_ratio=3.0, weight_decay=0.5)
    model = _Parts()
    spec = example.component().model_copy(update={"groups": {"embeddings": own}})
    optimizer = spec.build(model, torch.device("cpu"), "fp32")
    group = next(group for group in optimizer.param_groups if group["kind"] == "embeddings")
    right = (group["lr_ratio"], group["weight_decay"]) == (own.lr_ratio, own.weight_decay)
    example.hold(right, f"its group of embeddings has not the settings of groups.embeddings: {_GROUPS}")
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    before = {kind: parameters[0].detach().clone() for kind, parameters in parameters_by_kind(model).items()}
    group["lr"] = 0.0
    _step(example, optimizer, bad=False)
    still = [kind for kind, parameters in parameters_by_kind(model).items() if torch.equal(parameters[0], before[kind])]
    example.hold(still == ["embeddings"], "a group moves at another rate than its lr: multiply its update by its lr")


def moves_every_weight(example: Example) -> None:
    """By a good step."""
    model, optimizer = _with_gradients(example)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    _step(example, optimizer, bad=False)
    still = [name for name, parameter in model.named_parameters() if torch.equal(parameter, before[name])]
    example.hold(not still, f"a step does not move {', '.join(still)}")


def skips_bad_steps(example: Example) -> None:
    """A step whose ``found_inf`` is 1 changes neither weights nor states."""
    model, optimizer = _with_gradients(example)
    _step(example, optimizer, bad=False)
    before = [tensor.clone() for tensor in _tensors(model, optimizer)]
    _step(example, optimizer, bad=True)
    same = all(torch.equal(old, new) for old, new in zip(before, _tensors(model, optimizer), strict=True))
    example.hold(same, f"a step with found_inf = 1 changes weights or states, so that bad batches count: {_SKIPS}")


_SKIPS = "choose between old and new values with torch.where, or take one of torch's optimisers with fused=True"


def _step(example: Example, optimizer: Any, bad: bool) -> None:
    optimizer.found_inf = torch.tensor(float(bad))
    try:
        optimizer.step()
    except AssertionError as error:  # of torch's optimisers that are not fused
        example.hold(False, f"can't skip bad steps, which found_inf marks ({error}): {_SKIPS}")


def has_as_many_moments_as_it_says(example: Example) -> None:
    """Memory is planned with ``moments``."""
    model, optimizer = _with_gradients(example)
    _step(example, optimizer, bad=False)
    states = [
        value for state in optimizer.state.values() for value in state.values() if isinstance(value, torch.Tensor)
    ]
    found = sum(value.numel() for value in states if value.ndim)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    matrices = sum(parameter.numel() for parameter in parameters_by_kind(model)["matrices"])
    said = example.component().moments(parameters, matrices)
    example.hold(found == said, f"its state has {found} numbers for {parameters} parameters, and moments says {said}")


def _tensors(model: nn.Module, optimizer: Any) -> list[torch.Tensor]:
    states = [
        value for state in optimizer.state.values() for value in state.values() if isinstance(value, torch.Tensor)
    ]
    return [*(parameter.detach() for parameter in model.parameters()), *states]


def trains_and_resumes(example: Example) -> None:
    """A run that stops and resumes gives the weights of one that does not."""
    with tempfile.TemporaryDirectory() as folder:
        chosen = {"optimizer": example.whole()}
        whole = _trained(Path(folder, "whole"), chosen, {})
        parted = _trained(Path(folder, "parted"), chosen, {}, stop_after=2)
    example.hold(whole == parted, "a run that stopped and resumed has other weights: its state must be in state_dict")


def builds_a_callback(example: Example) -> None:
    """``outputs`` has literal names."""
    callback = example.component().build()
    example.hold(
        isinstance(callback, Callback),
        f"build returns {type(callback).__name__}; derive it from {Callback.__module__}.Callback",
    )
    example.hold(overridden(callback), f"does nothing at any event: define one of {', '.join(EVENTS)}")
    bad = [name for name in example.loaded.outputs if not re.fullmatch(r"[A-Za-z0-9_.-]+(/.+)?", name)]
    example.hold(not bad, f"outputs are {bad}: give paths relative to the work folder whose first part is a name")


def changes_no_weight(example: Example) -> None:
    """A run with it ends with the weights of a run without it, byte for byte; also one that resumes."""
    often = {"every": 1} if "every" in example.loaded.model_fields else {}  # the run is shorter than most defaults
    given = {**example.whole(), **often, **example.settings}
    chosen = {example.kind: {key: value for key, value in given.items() if key != "kind"}}
    with tempfile.TemporaryDirectory() as folder:
        plain = _trained(Path(folder, "plain"), {}, {})
        watched = _trained(Path(folder, "watched"), {}, chosen, stop_after=2)
    example.hold(plain == watched, "a run with it has other weights: it must change no weight and no gradient")


OF_OPTIMIZERS: tuple[Check, ...] = (
    *settings.CHECKS,
    has_the_groups_of_its_parameters,
    takes_the_settings_of_each_group,
    moves_every_weight,
    skips_bad_steps,
    has_as_many_moments_as_it_says,
    trains_and_resumes,
)
OF_CALLBACKS: tuple[Check, ...] = (*settings.CHECKS, builds_a_callback, changes_no_weight)


class _StopAfter(StopRequest):
    """Asks a run to stop after so many steps: the loop asks once per step."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self._left = steps

    @property
    def reason(self) -> str | None:
        self._left -= 1
        return "a contract" if self._left <= 0 else None

    @reason.setter
    def reason(self, _: str | None) -> None:
        pass


def _trained(
    folder: Path, training: Mapping[str, Any], callbacks: Mapping[str, Any], stop_after: int | None = None
) -> bytes:
    """The weights of a small training."""
    write_shards(folder / "shards", {"train": {"made": [50] * 20}, "heldout": {"made": [50] * 4}})
    fields = {"sequence_length": 16, "batch_tokens": 64, "tokens": 64 * STEPS, "precision": "fp32", "validate_every": 2}
    spec = TrainerSpec(
        model=ModelSpec.model_validate(BASE),
        training=TrainingSpec.model_validate(
            {"optimizer": {"lr": 0.01}, "validation_tokens": 64, **fields, **training}
        ),
        vocab_size=VOCABULARY,
        seed=7,
        shards=folder / "shards",
        work=folder / "work",
        checkpoint_every=2,
        tracking=TrackingSpec.model_validate({"callbacks": callbacks}),
    )
    stops = [StopRequest()]
    if stop_after is not None:
        stops.insert(0, _StopAfter(stop_after))
    for stop in stops:
        claim(spec, _silent)
        train(spec, World(rank=0, size=1, device=torch.device("cpu")), stop, _silent)
    return (spec.work / FINAL / "model.safetensors").read_bytes()


def _silent(_: str) -> None:
    pass
