"""All initialisation."""

import torch
from torch import nn

from llm_core.experiment.model import ModelSpec

RESIDUAL_WRITERS = ("mixer.output.weight", "feed_forward.down.weight")
"""Matrices of a block whose product is added to the residual stream."""


@torch.no_grad()
def initialise(model: nn.Module, spec: ModelSpec, generator: torch.Generator | None = None) -> None:
    """Set every weight of ``model``, in the order of its parameters.

    - norm weights: 1; biases: 0
    - matrices and embeddings: normal, mean 0, standard deviation ``init_std``
    - the matrices that write into the residual stream (``RESIDUAL_WRITERS``): the same, divided by the square root of
      how many branches write into it, so that the stream's variance does not grow with depth
      (Radford et al., 2019, GPT-2)

    Draws come from ``generator`` (on the parameters' device), or else from torch's global generator. Raises
    ``ValueError`` for a vector that has no rule: it would be left unset.
    """
    branches = sum(1 if layer.feed_forward is None else 2 for layer in spec.layers)
    residual_std = spec.init_std / branches**0.5
    for name, parameter in model.named_parameters():
        if parameter.ndim >= 2:
            std = residual_std if name.endswith(RESIDUAL_WRITERS) else spec.init_std
            parameter.normal_(0.0, std, generator=generator)
        elif name.endswith("norm.weight"):
            parameter.fill_(1.0)
        elif name.endswith(".bias"):
            parameter.zero_()
        else:
            raise ValueError(f"{name}: there is no rule for how to initialise it")
