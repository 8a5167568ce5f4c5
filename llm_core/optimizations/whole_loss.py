"""The loss with all logits in memory at once: the side before of ``chunked_loss``. No run of an experiment uses it."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from llm_core.model.cross_entropy import linear_cross_entropy
from llm_core.tokens.loader import IGNORED


def whole_cross_entropy(
    x_ND: Tensor,
    weight_VD: Tensor,
    targets_N: Tensor,
    *,
    softcap: float | None = None,
    z_loss: float = 0.0,
    clamp: float | None = None,
    **evaluation: Any,
) -> tuple[Tensor, Tensor]:
    """``(objective, cross_entropy)`` as of ``linear_cross_entropy``, by torch's own loss and autograd in training."""
    if not torch.is_grad_enabled():
        return linear_cross_entropy(
            x_ND, weight_VD, targets_N, softcap=softcap, z_loss=z_loss, clamp=clamp, **evaluation
        )
    logits_NV = functional.linear(x_ND, weight_VD).float()
    if softcap is not None:
        logits_NV = softcap * torch.tanh(logits_NV / softcap)
    losses_N = functional.cross_entropy(logits_NV, targets_N, ignore_index=IGNORED, reduction="none")
    objective_N = losses_N
    if z_loss:
        counted_N = targets_N != IGNORED
        objective_N = objective_N + z_loss * torch.where(counted_N, logits_NV.logsumexp(1).square(), 0)
    if clamp is not None:
        objective_N = torch.where(losses_N > clamp, clamp, objective_N)
    return objective_N.sum(), losses_N.detach().sum()
