"""Precision: fp32 master weights, with matrix products in bf16 or fp8 (``llm_core.train.fp8``)."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn


def autocast(precision: str, device: torch.device) -> AbstractContextManager[Any]:
    """The context of a forward pass: bf16 autocast, also for fp8, or nothing for fp32."""
    if precision != "fp32":
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext()


def assert_master_weights(model: nn.Module) -> None:
    """Assert that all parameters are fp32, because bf16 would lose small updates."""
    for name, parameter in model.named_parameters():
        assert parameter.dtype == torch.float32, f"{name} is {parameter.dtype}: master weights are fp32"
