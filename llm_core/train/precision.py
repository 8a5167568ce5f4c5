"""Numbers: fp32 master weights, with bf16 (or fp8: ``llm_core.train.fp8``) where matrices are multiplied."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn


def autocast(precision: str, device: torch.device) -> AbstractContextManager[Any]:
    """The context for a forward pass: bf16 autocast (also around products in fp8), or plain fp32."""
    if precision != "fp32":
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext()


def assert_master_weights(model: nn.Module) -> None:
    """All parameters are fp32: an update smaller than a bf16 step would be lost otherwise."""
    for name, parameter in model.named_parameters():
        assert parameter.dtype == torch.float32, f"{name} is {parameter.dtype}: master weights are fp32"
