"""Estimates the cost of a training run: by its hours, or relative to an earlier run."""

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, TypeVar

from llm_core.experiment.base import Spec
from llm_core.experiment.model import ModelSpec
from llm_core.experiment.runtime import ComputeSpec
from llm_core.experiment.training import TrainingSpec
from llm_core.graph.price import Estimate
from llm_core.train.preflight import run_flops, run_hours
from llm_core.train.this_machine import hardware_of

_Section = TypeVar("_Section", bound=Spec)


def estimate_cost(
    compute: ComputeSpec,
    before: Mapping[str, Any] | None,
    model: ModelSpec,
    training: TrainingSpec,
    vocab_size: int,
    seed: int,  # noqa: ARG001 (cost does not depend on it)
    from_step: int = 0,
) -> Estimate:
    """The cost of any training run: full, of a study, branch (from ``from_step`` on) or longer context.

    ``before``: the configuration of an earlier run. With it, the estimate is only the ratio of FLOPs, and the machine
    is not examined.
    """
    flops = run_flops(model, training, vocab_size, from_step)
    if before is not None:
        return Estimate(_ratio(flops, before), None, 0)
    hardware = hardware_of(compute)
    ranks = compute.ranks or hardware.devices
    return Estimate(
        None, run_hours(flops, compute, hardware, ranks, training.precision), ranks if hardware.on_cuda else 0
    )


def _ratio(flops: int, before: Mapping[str, Any]) -> float | None:
    with suppress(ValueError, KeyError, TypeError):  # an earlier release may have had other fields
        model, training = _section(ModelSpec, before["model"]), _section(TrainingSpec, before["training"])
        earlier = run_flops(model, training, before["vocab_size"], before.get("from_step", 0))
        return flops / earlier if earlier else None
    return None


def _section(kind: type[_Section], plain: Mapping[str, Any]) -> _Section:
    """A section from its canonical form, which has derived values as well."""
    fields = {name: value for name, value in plain.items() if name in kind.model_fields}
    return kind.model_validate_json(json.dumps(fields))
