"""AdamW, torch's implementation."""

import torch
from torch import nn

from llm_core.train.optimizers.adamw.spec import AdamW
from llm_core.train.parameter_groups import parameter_groups


def adamw(spec: AdamW, model: nn.Module) -> torch.optim.Optimizer:
    """Fused AdamW for ``model``."""
    groups = parameter_groups(model, spec, "AdamW")
    return torch.optim.AdamW(groups, lr=spec.lr, betas=spec.betas, eps=spec.eps, fused=True)
