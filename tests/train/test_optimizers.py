import torch
from torch import nn

from llm_core.experiment.training import OptimizerSpec
from llm_core.train.optimizers import adamw, describe_groups


def test_decay_is_on_matrices_only_and_the_groups_can_be_read():
    model = nn.Sequential(nn.Embedding(10, 4), nn.RMSNorm(4), nn.Linear(4, 3))
    optimizer = adamw(model, OptimizerSpec(lr=0.5, weight_decay=0.25), torch.device("cpu"))
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert {name: decay[id(p)] for name, p in model.named_parameters()} == {
        "0.weight": 0.25,
        "1.weight": 0.0,
        "2.weight": 0.25,
        "2.bias": 0.0,
    }
    assert describe_groups(optimizer) == [
        "group 0: 2 tensors, 52 parameters, lr 0.5, weight decay 0.25",
        "group 1: 2 tensors, 7 parameters, lr 0.5, weight decay 0",
    ]
