from typing import ClassVar

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from llm_core.errors import PedigreeError
from llm_core.experiment.base import canonical, from_plain
from llm_core.experiment.component import KindOf
from llm_core.experiment.optimization import OptimizerSpec
from llm_core.registries import OPTIMIZERS
from llm_core.train.optimizers.adamw.optimizer import adamw
from llm_core.train.optimizers.adamw.spec import AdamW
from llm_core.train.optimizers.muon.spec import Muon
from llm_core.train.parameter_groups import describe_groups, parameters_by_kind, set_schedule


class Parts(nn.Module):
    """One parameter of every kind."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(10, 4)
        self.block = nn.Sequential(nn.RMSNorm(4), nn.Linear(4, 3), nn.Conv1d(4, 4, 3, groups=4))
        self.experts = nn.Parameter(torch.ones(2, 4, 3))
        self.decay = nn.Parameter(torch.ones(2, 4))
        self.head = nn.Linear(4, 10, bias=False)


KINDS = {
    "embedding.weight": "embeddings",
    "block.0.weight": "vectors",
    "block.1.weight": "matrices",
    "block.1.bias": "vectors",
    "block.2.weight": "vectors",
    "block.2.bias": "vectors",
    "experts": "matrices",
    "decay": "vectors",
    "head.weight": "head",
}


def test_parameters_are_told_apart_by_what_they_do():
    model = Parts()
    found = {id(p): kind for kind, parameters in parameters_by_kind(model).items() for p in parameters}
    assert {name: found[id(p)] for name, p in model.named_parameters()} == KINDS


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_every_optimizer_has_the_groups_that_one_function_makes(kind):
    settings = {"kind": kind, "lr": 0.5, "weight_decay": 0.25}
    model, spec = Parts(), KindOf(OPTIMIZERS).made(settings, OptimizerSpec)
    groups = spec.build(model, torch.device("cpu"), "fp32").param_groups
    assert {group["kind"]: group["params"] for group in groups} == parameters_by_kind(model)
    decays = {"matrices": 0.25, "embeddings": 0.25, "head": 0.25, "vectors": 0.0}
    assert {group["kind"]: group["weight_decay"] for group in groups} == decays
    assert all(group["rule"] and group["lr_ratio"] > 0 for group in groups)


def test_gains_biases_and_kernels_do_not_decay_and_the_groups_can_be_read():
    optimizer = adamw(AdamW(lr=0.5, weight_decay=0.25), Parts())
    moments = "betas 0.9/0.95, eps 1e-08"
    assert describe_groups(optimizer) == [
        f"matrices: 2 tensors, 36 parameters, AdamW, lr 0.5, weight decay 0.25, {moments}",
        f"embeddings: 1 tensors, 40 parameters, AdamW, lr 0.5, weight decay 0.25, {moments}",
        f"head: 1 tensors, 40 parameters, AdamW, lr 0.5, weight decay 0.25, {moments}",
        f"vectors: 5 tensors, 31 parameters, AdamW, lr 0.5, weight decay 0, {moments}",
    ]


GROUPS = {
    "embeddings": {"lr_ratio": 10.0, "betas": [0.8, 0.99], "eps": 1e-4, "weight_decay": 0.01},
    "head": {"lr_ratio": 0.25},
    "vectors": {"weight_decay": 0.5},
}


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_every_kind_of_parameters_may_have_its_own_settings(kind):
    """Two steps, the second at half the rate, as AdamWs of their own with these settings take them."""
    spec = KindOf(OPTIMIZERS).made({"kind": kind, "lr": 0.02, "groups": GROUPS}, OptimizerSpec)
    torch.manual_seed(0)
    model = Parts()
    optimizer = spec.build(model, torch.device("cpu"), "fp32")
    expected = {kind: [p.detach().clone() for p in found] for kind, found in parameters_by_kind(model).items()}
    own = {
        "embeddings": {"lr": 0.2, "betas": (0.8, 0.99), "eps": 1e-4, "weight_decay": 0.01},
        "head": {"lr": 0.005, "weight_decay": 0.1},
        "vectors": {"lr": 0.02, "weight_decay": 0.5},
    }
    common = {"betas": (0.9, 0.95), "eps": 1e-8}
    others = [torch.optim.AdamW(expected[kind], **{**common, **settings}) for kind, settings in own.items()]
    for share in (1.0, 0.5):
        set_schedule(optimizer, 0.02 * share, share)
        for other, settings in zip(others, own.values(), strict=True):
            other.param_groups[0]["lr"] = settings["lr"] * share
        for kind, parameters in parameters_by_kind(model).items():
            for parameter, copy in zip(parameters, expected[kind], strict=True):
                parameter.grad = torch.randn_like(parameter)
                copy.grad = parameter.grad.clone()
        for one in (optimizer, *others):
            one.step()
    for kind in own:
        for parameter, copy in zip(parameters_by_kind(model)[kind], expected[kind], strict=True):
            torch.testing.assert_close(parameter.detach(), copy)


def test_weight_decay_may_follow_the_schedule():
    groups = {"head": {"weight_decay": 0.4}}
    spec = from_plain(AdamW, {"lr": 0.5, "weight_decay_schedule": "with_rate", "groups": groups})
    optimizer = adamw(spec, Parts())
    assert "head: 1 tensors, 40 parameters, AdamW, lr 0.5, weight decay 0.4" in describe_groups(optimizer)[2]
    set_schedule(optimizer, 0.5 * 0.25, 0.25)
    found = {group["kind"]: (group["lr"], group["weight_decay"]) for group in optimizer.param_groups}
    assert found == {
        "matrices": (0.125, pytest.approx(0.025)),
        "embeddings": (0.125, pytest.approx(0.025)),
        "head": (0.125, pytest.approx(0.1)),
        "vectors": (0.125, 0.0),
    }


def test_settings_of_groups_change_no_identity_where_they_are_left_out():
    assert canonical(AdamW(lr=0.5)).keys() == {"kind", "lr", "weight_decay", "betas", "eps"}
    old = {"kind", "lr", "weight_decay", "betas", "eps", "momentum", "nesterov", "steps", "adjust", "lr_ratio"}
    assert canonical(Muon(lr=0.5)).keys() == old
    groups = {"groups": {"head": {"lr_ratio": 2.0}}}
    assert canonical(from_plain(AdamW, {"lr": 0.5, **groups}))["groups"] == groups["groups"]


@pytest.mark.parametrize(
    ("kind", "groups", "message"),
    [
        (
            AdamW,
            {"heads": {}},
            "groups.heads: unknown kind of parameters; known: matrices, embeddings, value_embeddings,",
        ),
        (AdamW, {"head": {"rate": 2.0}}, "groups.head.rate\n  Extra inputs"),
        (AdamW, {"head": {"lr_ratio": 0.0}}, "groups.head.lr_ratio\n  Input should be greater than 0"),
        (Muon, {"matrices": {"lr_ratio": 2.0}}, "groups.matrices.lr_ratio: muon .* set lr_ratio beside lr"),
        (Muon, {"matrices": {"eps": 1e-3}}, "groups.matrices.eps: muon does not take it here"),
    ],
)
def test_groups_that_can_not_be_are_refused(kind, groups, message):
    with pytest.raises(ValidationError, match=message):
        from_plain(kind, {"lr": 0.5, "groups": groups})


class Scaled(nn.Module):
    """Names the kinds of its parameters."""

    parameter_kinds: ClassVar = {"scales": "residual_scales"}

    def __init__(self) -> None:
        super().__init__()
        self.scales = nn.Parameter(torch.ones(3))
        self.others = nn.Parameter(torch.ones(3))


def test_a_module_may_name_the_kinds_of_its_parameters(monkeypatch):
    model = nn.Sequential(Scaled(), nn.Linear(3, 3, bias=False))
    kinds = {kind: len(parameters) for kind, parameters in parameters_by_kind(model).items()}
    assert kinds == {"matrices": 1, "vectors": 1, "residual_scales": 1}
    for wrong in ({"scales": "scalars"}, {"scale": "vectors"}):
        monkeypatch.setattr(Scaled, "parameter_kinds", wrong)
        with pytest.raises(
            PedigreeError, match=r"Scaled.parameter_kinds: .* \(scales, others\) and known kinds \(matr"
        ):
            parameters_by_kind(model)
