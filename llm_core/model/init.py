"""All initialisation."""

import math

import torch
from torch import nn

from llm_core.experiment.model import ModelSpec

DECAY_RATES = 1.0, 16.0
"""Mamba-2: the range of −A."""

TIME_STEPS = 0.001, 0.1
"""Mamba-2: the range of dt before tokens change it."""

RESIDUAL_WRITERS = (
    "mixer.output.weight",
    "feed_forward.down.weight",
    "feed_forward.down",  # of all experts
    "feed_forward.shared.down.weight",
)
"""Matrices of a block whose product is added to the residual stream."""


@torch.no_grad()
def initialise(model: nn.Module, spec: ModelSpec, generator: torch.Generator | None = None) -> None:
    """Set every weight of ``model``, in the order of its parameters.

    - norm weights: 1; biases: 0; buffers (the selection biases of experts): 0
    - matrices and embeddings: normal, mean 0, standard deviation ``init_std``
    - the matrices that write into the residual stream (``RESIDUAL_WRITERS``): the same, divided by the square root of
      how many branches write into it, so that the stream's variance does not grow with depth
      (Radford et al., 2019, GPT-2)
    - short convolutions of K taps: uniform between ±1/sqrt(K), so that a channel passes with about the size it has
    - Mamba-2 (Dao and Gu, 2024): −A uniform in ``DECAY_RATES``; dt, softplus of its bias, log-uniform in
      ``TIME_STEPS``; D 1

    Draws come from ``generator`` (on the parameters' device), or else from torch's global generator. Raises
    ``ValueError`` for a vector that has no rule: it would be left unset.
    """
    branches = sum(1 if layer.feed_forward is None else 2 for layer in spec.layers)
    residual_std = spec.init_std / branches**0.5
    for name, parameter in model.named_parameters():
        if name.endswith("convolution.weight"):
            parameter.uniform_(-(parameter.shape[1] ** -0.5), parameter.shape[1] ** -0.5, generator=generator)
        elif parameter.ndim >= 2:
            std = residual_std if name.endswith(RESIDUAL_WRITERS) else spec.init_std
            parameter.normal_(0.0, std, generator=generator)
        elif name.endswith("mixer.A_log"):
            parameter.uniform_(*DECAY_RATES, generator=generator).log_()
        elif name.endswith("mixer.dt_bias"):
            low, high = (math.log(step) for step in TIME_STEPS)
            parameter.uniform_(low, high, generator=generator).exp_()
            parameter.add_(torch.log(-torch.expm1(-parameter)))  # the inverse of softplus
        elif name.endswith(("norm.weight", "mixer.D")):
            parameter.fill_(1.0)
        elif name.endswith(".bias"):
            parameter.zero_()
        else:
            raise ValueError(f"{name}: there is no rule for how to initialise it")
    for buffer in model.buffers():
        buffer.zero_()
