"""What a callback of a plug-in may not change, and that the error names it."""

from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch

from llm_core.errors import PedigreeError
from llm_core.model.build import build_model
from llm_core.registries import CALLBACKS
from llm_core.train.callbacks.base import EVENTS, Callback
from llm_core.train.callbacks.untouched import watched
from llm_core.train.optimizers.adamw.spec import AdamW
from tests.train.runs import model_spec

EXPERTS = {"kind": "moe", "experts": 4, "top_k": 2, "d_ff": 16, "bias_rate": 0.01}


@pytest.fixture
def run() -> SimpleNamespace:
    """A run in the middle of a step, with gradients and moments."""
    model = build_model(model_spec(feed_forward=EXPERTS), 64)
    optimizer = AdamW().build(model, torch.device("cpu"), "fp32")
    for _ in range(2):
        for parameter in model.parameters():
            parameter.grad = torch.ones_like(parameter)
        optimizer.step()
    return SimpleNamespace(model=model, optimizer=optimizer)


@pytest.fixture
def calling(monkeypatch: pytest.MonkeyPatch) -> Callable:
    """Calls a function as an event of a plug-in's callback."""
    monkeypatch.setitem(CALLBACKS._targets, "other", "other:Other")
    monkeypatch.setitem(CALLBACKS._plugins, "other", "other")

    def call(run: SimpleNamespace, act: Callable, event: str = "before_update") -> None:
        callback = Callback()
        callback.name = "other"
        setattr(callback, event, act)
        getattr(watched(callback), event)(run)

    return call


def moe(run: SimpleNamespace) -> torch.nn.Module:
    return run.model.blocks[1].feed_forward


def group(run: SimpleNamespace) -> dict:
    return run.optimizer.param_groups[0]


CHANGES = {
    "the weight of blocks.1.feed_forward.down": lambda run: moe(run).down.detach().add_(1),
    "the gradient of blocks.1.feed_forward.down": lambda run: moe(run).down.grad.mul_(2),
    "the optimiser's exp_avg of blocks.1.feed_forward.down": (
        lambda run: run.optimizer.state[moe(run).down]["exp_avg"].zero_()
    ),
    "the buffer selection_bias of blocks.1.feed_forward": lambda run: moe(run).selection_bias.add_(1),
    "the optimiser's betas of parameter group matrices": lambda run: group(run).update(betas=(0.5, 0.5)),
    "the optimiser's weight_decay of parameter group matrices": lambda run: group(run).update(weight_decay=0.5),
}


@pytest.mark.parametrize("told", CHANGES)
def test_a_change_is_named(told: str, run: SimpleNamespace, calling: Callable) -> None:
    with pytest.raises(PedigreeError, match=rf"^the callback other \(other:Other\) changes {told} in before_update: "):
        calling(run, CHANGES[told])


def test_a_gradient_that_is_removed_is_the_one_that_is_named(run: SimpleNamespace, calling: Callable) -> None:
    def remove(run: SimpleNamespace) -> None:
        moe(run).down.grad = None

    with pytest.raises(PedigreeError, match=r"changes the gradient of blocks\.1\.feed_forward\.down in"):
        calling(run, remove)


@pytest.mark.parametrize("event", EVENTS)
def test_every_event_is_checked(event: str, run: SimpleNamespace, calling: Callable) -> None:
    with pytest.raises(PedigreeError, match=f"in {event}: "):
        calling(run, lambda run: moe(run).selection_bias.add_(1), event)


def test_what_does_not_change_the_training_is_allowed(run: SimpleNamespace, calling: Callable) -> None:
    def look(run: SimpleNamespace) -> None:
        group(run)["lr"] = 7.0  # the schedule sets it in every step
        with torch.no_grad():
            run.model(torch.zeros(1, 8, dtype=torch.long))

    calling(run, look)


def test_events_are_the_methods_that_get_the_run() -> None:
    methods = {name for name in vars(Callback) if callable(getattr(Callback, name)) and not name.startswith("_")}
    assert methods - set(EVENTS) == {"state_dict", "load_state_dict"}
