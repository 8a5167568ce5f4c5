"""All initialisation: the rules for matrices and vectors, and the exceptions that modules declare."""

from collections.abc import Callable, Mapping

import torch
from torch import Generator, Tensor, nn

from llm_core.experiment.model import ModelSpec

Draws = Mapping[str, Callable[[Tensor, Generator | None], None]]
"""Name of a parameter → the function that initialises it. A module declares them as ``draws``."""


def ones(parameter: Tensor, _: Generator | None) -> None:
    """All 1."""
    parameter.fill_(1.0)


def zeros(parameter: Tensor, _: Generator | None) -> None:
    """All 0."""
    parameter.zero_()


@torch.no_grad()
def initialise(model: nn.Module, spec: ModelSpec, generator: Generator | None = None) -> None:
    """Set every weight of ``model``, in the order of its parameters.

    - parameters in the ``draws`` of their module: by these functions
    - norm weights: 1; biases: 0; buffers (the selection biases of experts): 0
    - matrices and embeddings: normal, mean 0, standard deviation ``init_std``
    - matrices that write into the residual stream (``residual_writers`` of a module): the same, divided by the square
      root of the number of branches, so that the stream's variance does not grow with depth (Radford et al., 2019,
      GPT-2)
    - an embedding before a norm (``embedding_norm``): uniform between ±1e-4. The norm then lets it change fast (Peng et
      al., 2023)

    Random numbers come from ``generator`` (on the parameters' device), by default torch's global one. Raises
    ``ValueError`` for a vector without a rule: it would stay uninitialised.
    """
    branches = sum(1 if layer.feed_forward is None else 2 for layer in spec.layers)
    residual_std = spec.init_std / branches**0.5
    draws: dict[str, Callable[[Tensor, Generator | None], None]] = {}
    writers: set[str] = set()
    for prefix, module in model.named_modules():
        draws |= {f"{prefix}.{name}": draw for name, draw in getattr(module, "draws", {}).items()}
        writers |= {f"{prefix}.{name}" for name in getattr(module, "residual_writers", ())}
    for name, parameter in model.named_parameters():
        if name in draws:
            draws[name](parameter, generator)
        elif name == "embedding.weight" and spec.embedding_norm:
            parameter.uniform_(-1e-4, 1e-4, generator=generator)
        elif parameter.ndim >= 2:
            parameter.normal_(0.0, residual_std if name in writers else spec.init_std, generator=generator)
        elif name.endswith("norm.weight"):
            parameter.fill_(1.0)
        elif name.endswith(".bias"):
            parameter.zero_()
        else:
            raise ValueError(f"{name}: there is no rule for how to initialise it; give its module draws for it")
    for buffer in model.buffers():
        buffer.zero_()
