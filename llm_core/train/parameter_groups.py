"""Parameter groups of optimisers, by the kind of the parameters."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from llm_core.errors import PedigreeError
from llm_core.experiment.optimization import KINDS, GroupSpec, OptimizerSpec

DECAYED = ("matrices", "embeddings", "value_embeddings", "ngram_embeddings", "head")
"""The kinds with the optimiser's weight decay. Gains, biases and the like have none by default: nothing makes them grow
without bound."""


def parameter_groups(
    model: nn.Module, spec: OptimizerSpec, rule: str, exceptions: Mapping[str, tuple[str, float]] | None = None
) -> list[dict[str, Any]]:
    """One group per kind of parameters, with the settings that ``spec.groups`` has for it.

    ``rule``: the name of the update rule. ``exceptions``: kind → another rule, and its learning rate as a multiple of
    the optimiser's. ``set_schedule`` sets what changes in a run.
    """
    groups = []
    for kind, parameters in parameters_by_kind(model).items():
        group_rule, lr_ratio = (exceptions or {}).get(kind, (rule, 1.0))
        decay = spec.weight_decay if kind in DECAYED else 0.0
        group: dict[str, Any] = {"kind": kind, "rule": group_rule, "lr_ratio": lr_ratio, "weight_decay": decay}
        group |= spec.groups.get(kind, GroupSpec()).given()
        if kind == "matrices" and (width := _ratio(model, "width")) != 1:
            group["lr_ratio"] *= width ** spec.width_power()
            group["weight_decay"] /= width ** spec.width_power()
            eps = group.get("eps", getattr(spec, "eps", None))
            if eps is not None and group_rule == rule:  # not of a rule that only matrices have
                group["eps"] = eps / (width * _ratio(model, "depth"))
        falling = {"weight_decay": (0.0, group["weight_decay"])} if spec.weight_decay_schedule == "with_rate" else {}
        groups.append({**group, "params": parameters, "lr": spec.lr * group["lr_ratio"], "scheduled": falling})
    return groups


def _ratio(model: nn.Module, what: str) -> float:
    """Of the model's shape to the base of its parametrisation."""
    spec = getattr(model, "spec", None)
    return 1.0 if spec is None else spec.width_ratio() if what == "width" else spec.depth_ratio()


def set_schedule(optimizer: torch.optim.Optimizer, lr: float, share: float) -> None:
    """Set the groups' learning rates, and the settings that follow the schedule: its ``share`` at this step.

    ``lr``: of groups whose ``lr_ratio`` is 1. ``scheduled`` of a group: setting → its values at the shares 0 and 1.
    """
    for group in optimizer.param_groups:
        group["lr"] = lr * group["lr_ratio"]
        for name, (low, high) in group["scheduled"].items():
            group[name] = low + (high - low) * share


def parameters_by_kind(model: nn.Module) -> dict[str, list[nn.Parameter]]:
    """Kind → its parameters; each parameter has one kind. Kinds without parameters are omitted.

    - ``matrices``: the weights of linear maps, also those of experts, (E, in, out)
    - ``embeddings``: tables with one row per token or position, also when the head is tied to it
    - ``head``: the matrix that turns the last hidden state into logits
    - ``vectors``: all others: gains of norms, biases, kernels of short convolutions, decay rates

    A module names the kinds of its own parameters, where they are others, in ``parameter_kinds``: name → kind, one of
    ``KINDS``. Raises ``PedigreeError`` for a kind or a parameter that does not exist.
    """
    kinds: dict[str, list[nn.Parameter]] = {kind: [] for kind in KINDS}
    modules = dict(model.named_modules())
    for module in modules.values():
        _check_kinds(module)
    for name, parameter in model.named_parameters():
        path, _, own_name = name.rpartition(".")
        owner = modules[path]
        kinds[_named(owner).get(own_name) or _kind(name, parameter, owner)].append(parameter)
    return {kind: parameters for kind, parameters in kinds.items() if parameters}


def _named(module: nn.Module) -> Mapping[str, str]:
    named: Mapping[str, str] = getattr(module, "parameter_kinds", {})
    return named


def _check_kinds(module: nn.Module) -> None:
    own = dict(module.named_parameters(recurse=False))
    for name, kind in _named(module).items():
        if kind not in KINDS or name not in own:
            raise PedigreeError(
                f"{type(module).__name__}.parameter_kinds: {name!r}: {kind!r}: give parameters of the module itself "
                f"({', '.join(own) or 'it has none'}) and known kinds ({', '.join(KINDS)})"
            )


def _kind(name: str, parameter: nn.Parameter, owner: nn.Module) -> str:
    if isinstance(owner, nn.Embedding):
        return "embeddings"
    if name == "head.weight":
        return "head"
    experts = parameter.ndim == 3 and not isinstance(owner, nn.Conv1d)
    return "matrices" if experts or (isinstance(owner, nn.Linear) and parameter.ndim == 2) else "vectors"


def describe_groups(optimizer: torch.optim.Optimizer) -> list[str]:
    """One line per group: kind, numbers of tensors and parameters, rule, and its settings at the peak of the learning
    rate."""
    lines = []
    for group in optimizer.param_groups:
        size = f"{len(group['params'])} tensors, {sum(p.numel() for p in group['params']):,} parameters"
        peak = {**group, **{name: high for name, (_, high) in group["scheduled"].items()}}
        names = ("lr", "weight_decay", "betas", "eps", "momentum")
        settings = [f"{name.replace('_', ' ')} {_shown(peak[name])}" for name in names if name in peak]
        lines.append(f"{group['kind']}: {size}, {group['rule']}, {', '.join(settings)}")
    return lines


def _shown(value: float | tuple[float, ...]) -> str:
    return "/".join(f"{part:g}" for part in value) if isinstance(value, tuple) else f"{value:g}"
