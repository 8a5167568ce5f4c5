"""AdamW. An optimiser is a function of (model, specification, device, precision); it returns a
``torch.optim.Optimizer``. ``precision`` is the run's, for optimisers that multiply matrices."""

import torch
from torch import nn

from llm_core.experiment.training import OptimizerSpec
from llm_core.train.groups import DECAYED, parameters_by_kind


def adamw(
    model: nn.Module, spec: OptimizerSpec, device: torch.device, precision: str = "bf16"
) -> torch.optim.Optimizer:
    """AdamW (Loshchilov and Hutter, 2019): decoupled weight decay on the kinds that ``DECAYED`` names.

    The fused kernel, which exists for CUDA and CPU, updates all of a group at once, and skips a step whose
    ``found_inf`` is set.
    """
    del precision  # it multiplies no matrices
    groups = [
        {
            "params": parameters,
            "kind": kind,
            "rule": "AdamW",
            "lr_ratio": 1.0,
            "weight_decay": spec.weight_decay if kind in DECAYED else 0.0,
        }
        for kind, parameters in parameters_by_kind(model).items()
    ]
    return torch.optim.AdamW(groups, lr=spec.lr, betas=spec.betas, eps=spec.eps, fused=device.type in ("cuda", "cpu"))
