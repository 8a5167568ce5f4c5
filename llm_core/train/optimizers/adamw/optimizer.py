"""AdamW as torch has it."""

import torch
from torch import nn

from llm_core.train.groups import parameter_groups
from llm_core.train.optimizers.adamw.spec import AdamW


def adamw(spec: AdamW, model: nn.Module, device: torch.device) -> torch.optim.Optimizer:
    """The fused kernel, which exists for CUDA and CPU, updates all of a group at once."""
    groups = parameter_groups(model, spec.weight_decay)
    return torch.optim.AdamW(groups, lr=spec.lr, betas=spec.betas, eps=spec.eps, fused=device.type in ("cuda", "cpu"))
