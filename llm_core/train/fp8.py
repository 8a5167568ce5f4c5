"""Matrix products in fp8 (Micikevicius et al., 2022) with ``torchao``, on CUDA devices that support them.

``Float8Linear`` replaces linear layers. Operands are e4m3 (activations, weights) and e5m2 (gradients). Each tensor is
scaled at every use so that its largest magnitude is the format's largest number. Results are bf16. Weights, gradients
and moments stay fp32, and parameters keep their names.
"""

from collections.abc import Sequence

import torch
from torch import nn

from llm_core.errors import PedigreeError
from llm_core.extras import missing
from llm_core.model.fused import Fused
from llm_core.train.hardware import FP8_CAPABILITY
from llm_core.train.this_machine import this_machine

MULTIPLE = 16
"""The kernels need rows and columns in multiples of this."""


def in_float8(blocks: Sequence[nn.Module]) -> tuple[int, int]:
    """Convert the linear layers in ``blocks`` to fp8; returns the number of converted layers and of all layers.

    Layers whose sizes are not multiples of 16 are not converted. ``PedigreeError`` when no layer fits, or without
    ``torchao``. On a CPU (for tests), numbers are rounded to fp8 and multiplied in fp32.
    """
    try:
        from torchao.float8 import Float8LinearConfig, convert_to_float8_training  # takes seconds
    except ImportError:
        raise missing("training.precision fp8", "torchao", "fp8") from None
    layers, fitting = _layers(blocks)
    config = Float8LinearConfig(emulate=fitting[0].weight.device.type == "cpu")
    fused = {layer.weight: layer.fused for layer in fitting if isinstance(layer, Fused)}
    for block in blocks:
        convert_to_float8_training(block, module_filter_fn=lambda layer, _name: layer in fitting, config=config)
        for layer in block.modules():
            if isinstance(layer, nn.Linear) and layer.weight in fused:
                layer.fused = fused[layer.weight]  # type: ignore[assignment]
    return len(fitting), len(layers)


def check_float8(blocks: Sequence[nn.Module]) -> None:
    """``PedigreeError`` when no linear layer in ``blocks`` can be converted to fp8."""
    _layers(blocks)


def _layers(blocks: Sequence[nn.Module]) -> tuple[list[nn.Linear], list[nn.Linear]]:
    """The linear layers without routers, which are always fp32; and those of them that fit."""
    modules = [module for block in blocks for module in block.modules()]
    wide = {module.get_parameter(name) for module in modules for name in getattr(module, "wide", ())}
    layers = [module for module in modules if isinstance(module, nn.Linear) and module.weight not in wide]
    fitting = [layer for layer in layers if not (layer.in_features % MULTIPLE or layer.out_features % MULTIPLE)]
    if not fitting:
        raise PedigreeError(
            f"training.precision fp8: none of the {len(layers)} linear layers in the blocks has sizes that are "
            f"multiples of {MULTIPLE}: make model.d_model and feed_forward.d_ff such multiples, or set precision to "
            "bf16"
        )
    return layers, fitting


def require_float8(device: torch.device) -> None:
    """``PedigreeError`` for a device without fp8 products."""
    found = this_machine(device.type)
    if not found.fp8:
        raise PedigreeError(
            f"training.precision fp8 needs a GPU of compute capability {'.'.join(map(str, FP8_CAPABILITY))} or higher "
            f"(Ada, Hopper or newer), and this is {found.name}: set it to bf16"
        )
