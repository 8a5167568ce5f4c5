"""All initialisation: the rules for matrices and vectors, and the exceptions that modules declare."""

from collections.abc import Callable, Mapping

import torch
from torch import Generator, Tensor, nn

from llm_core.experiment.model import ModelSpec

Draw = Callable[[Tensor, Generator | None], None]

Draws = Mapping[str, Draw]
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
    - the exceptions of ``spec.init``
    - with a parametrisation: matrices of blocks are divided by the root of ``width_ratio``; branches as of its base

    Random numbers come from ``generator`` (on the parameters' device), by default torch's global one. Raises
    ``ValueError`` for a vector without a rule: it would stay uninitialised.
    """
    branches = sum(1 if layer.feed_forward is None else 2 for layer in spec.layers) / spec.depth_ratio()
    init = spec.init
    draws: dict[str, Draw] = {}
    writers: set[str] = set()
    tables: set[str] = set()
    for prefix, module in model.named_modules():
        draws |= {f"{prefix}.{name}": draw for name, draw in getattr(module, "draws", {}).items()}
        writers |= {f"{prefix}.{name}" for name in getattr(module, "residual_writers", ())}
        tables |= {f"{prefix}.weight"} if isinstance(module, nn.Embedding) else set()
    for name, parameter in model.named_parameters():
        if name in draws:
            draws[name](parameter, generator)
        elif name == "embedding.weight" and init.embedding_std is not None:
            parameter.normal_(0.0, init.embedding_std, generator=generator)
        elif name == "embedding.weight" and spec.embedding_norm:
            parameter.uniform_(-1e-4, 1e-4, generator=generator)
        elif name == "head.weight" and init.head_std is not None:
            parameter.normal_(0.0, init.head_std, generator=generator)
        elif name in writers and init.residual_writers == "zero":
            parameter.zero_()
        elif parameter.ndim >= 2:
            valued = name.startswith("value_embeddings.")
            by_inputs = init.matrices == "fan_in" and (valued or name not in tables)
            # Linear maps are (outputs, inputs), and experts (E, inputs, outputs).
            inputs = spec.d_model if valued else parameter.shape[1]
            std = inputs**-0.5 if by_inputs else spec.init_std
            if not by_inputs and name not in tables and name != "head.weight":
                std /= spec.width_ratio() ** 0.5
            if name in writers:
                std /= branches**0.5
            elif ".feed_forward." in name:
                std *= init.feed_forward
            if by_inputs:
                parameter.uniform_(-(3**0.5) * std, 3**0.5 * std, generator=generator)
            else:
                parameter.normal_(0.0, std, generator=generator)
        elif name.endswith("norm.weight"):
            parameter.fill_(1.0)
        elif name.endswith(".bias"):
            parameter.zero_()
        else:
            raise ValueError(f"{name}: there is no rule for how to initialise it; give its module draws for it")
    for buffer in model.buffers():
        buffer.zero_()
