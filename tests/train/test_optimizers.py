import pytest
import torch
from torch import nn

from llm_core.experiment.component import KindOf
from llm_core.experiment.optimization import OptimizerSpec
from llm_core.registries import OPTIMIZERS
from llm_core.train.optimizers.adamw.optimizer import adamw
from llm_core.train.optimizers.adamw.spec import AdamW
from llm_core.train.parameter_groups import describe_groups, parameters_by_kind


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
    assert describe_groups(optimizer) == [
        "matrices: 2 tensors, 36 parameters, AdamW, lr 0.5, weight decay 0.25",
        "embeddings: 1 tensors, 40 parameters, AdamW, lr 0.5, weight decay 0.25",
        "head: 1 tensors, 40 parameters, AdamW, lr 0.5, weight decay 0.25",
        "vectors: 5 tensors, 31 parameters, AdamW, lr 0.5, weight decay 0",
    ]
