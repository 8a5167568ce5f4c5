"""Optimisers: functions of (model, specification, device) that return a ``torch.optim.Optimizer``."""

import torch
from torch import nn

from llm_core.experiment.training import OptimizerSpec


def adamw(model: nn.Module, spec: OptimizerSpec, device: torch.device) -> torch.optim.Optimizer:
    """AdamW (Loshchilov and Hutter, 2019): decoupled weight decay on matrices, none on vectors (gains of norms).

    Embeddings are matrices too. The fused kernel, which exists for CUDA and CPU, updates all of a group at once.
    """
    matrices = [parameter for parameter in model.parameters() if parameter.ndim >= 2]
    vectors = [parameter for parameter in model.parameters() if parameter.ndim < 2]
    groups = [
        {"params": matrices, "weight_decay": spec.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=spec.lr,
        betas=spec.betas,
        eps=spec.eps,
        fused=device.type in ("cuda", "cpu"),
    )


def describe_groups(optimizer: torch.optim.Optimizer) -> list[str]:
    """One line for each parameter group: how many tensors and numbers, and its decay."""
    return [
        f"group {number}: {len(group['params'])} tensors, {sum(p.numel() for p in group['params']):,} parameters, "
        f"lr {group['lr']:g}, weight decay {group['weight_decay']:g}"
        for number, group in enumerate(optimizer.param_groups)
    ]
