"""Parameter groups of optimisers, by the kind of the parameters."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

DECAYED = ("matrices", "embeddings", "head")
"""The kinds with weight decay. Gains, biases and the like have none: nothing makes them grow without bound."""


def parameter_groups(
    model: nn.Module, weight_decay: float, rule: str, exceptions: Mapping[str, tuple[str, float]] | None = None
) -> list[dict[str, Any]]:
    """One group per kind of parameters.

    ``rule``: the name of the update rule. ``exceptions``: kind → another rule, and its learning rate as a multiple of
    the optimiser's.
    """
    groups = []
    for kind, parameters in parameters_by_kind(model).items():
        group_rule, lr_ratio = (exceptions or {}).get(kind, (rule, 1.0))
        decay = weight_decay if kind in DECAYED else 0.0
        groups.append(
            {"params": parameters, "kind": kind, "rule": group_rule, "lr_ratio": lr_ratio, "weight_decay": decay}
        )
    return groups


def parameters_by_kind(model: nn.Module) -> dict[str, list[nn.Parameter]]:
    """Kind → its parameters; each parameter has one kind. Kinds without parameters are omitted.

    - ``matrices``: the weights of linear maps, also those of experts, (E, in, out)
    - ``embeddings``: tables with one row per token or position, also when the head is tied to it
    - ``head``: the matrix that turns the last hidden state into logits
    - ``vectors``: all others: gains of norms, biases, kernels of short convolutions, decay rates
    """
    kinds: dict[str, list[nn.Parameter]] = {"matrices": [], "embeddings": [], "head": [], "vectors": []}
    modules = dict(model.named_modules())
    for name, parameter in model.named_parameters():
        owner = modules[name.rpartition(".")[0]]
        kinds[_kind(name, parameter, owner)].append(parameter)
    return {kind: parameters for kind, parameters in kinds.items() if parameters}


def _kind(name: str, parameter: nn.Parameter, owner: nn.Module) -> str:
    if isinstance(owner, nn.Embedding):
        return "embeddings"
    if name == "head.weight":
        return "head"
    experts = parameter.ndim == 3 and not isinstance(owner, nn.Conv1d)
    return "matrices" if experts or (isinstance(owner, nn.Linear) and parameter.ndim == 2) else "vectors"


def describe_groups(optimizer: torch.optim.Optimizer) -> list[str]:
    """One line per group: kind, numbers of tensors and parameters, rule, peak learning rate and weight decay."""
    return [
        f"{group['kind']}: {len(group['params'])} tensors, {sum(p.numel() for p in group['params']):,} parameters, "
        f"{group['rule']}, lr {group['lr'] * group['lr_ratio']:g}, weight decay {group['weight_decay']:g}"
        for group in optimizer.param_groups
    ]
