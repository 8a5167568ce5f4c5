"""All initialisation."""

import torch
from torch import nn

from llm_core.experiment.model import ModelSpec


@torch.no_grad()
def initialise(model: nn.Module, spec: ModelSpec, generator: torch.Generator | None = None) -> None:
    """Set every weight of ``model``, in the order of its parameters.

    - norm weights: 1
    - matrices and embeddings: normal, mean 0, standard deviation ``init_std``
    - the two matrices of a block that write into the residual stream (``attention.output``, ``feed_forward.down``):
      the same, divided by sqrt(2 · n_layers), so that the stream's variance does not grow with depth
      (Radford et al., 2019, GPT-2)

    Draws come from ``generator`` (on the parameters' device), or else from torch's global generator. Raises
    ``ValueError`` for a vector that is no norm weight: it would be left unset.
    """
    residual_std = spec.init_std / (2 * spec.n_layers) ** 0.5
    for name, parameter in model.named_parameters():
        if parameter.ndim >= 2:
            writes_residual = name.endswith(("attention.output.weight", "feed_forward.down.weight"))
            parameter.normal_(0.0, residual_std if writes_residual else spec.init_std, generator=generator)
        elif name.endswith("norm.weight"):
            parameter.fill_(1.0)
        else:
            raise ValueError(f"{name}: there is no rule for how to initialise it")
