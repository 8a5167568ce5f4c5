"""Matrix products in 8-bit floats (Micikevicius et al., 2022), on CUDA devices that have them.

Numbers go in as e4m3 (activations, weights) and e5m2 (gradients). Each tensor is scaled at every use so that its
largest magnitude is the format's largest number. Sums are made in fp32 and come out in bf16. Weights, gradients and
moments stay fp32.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from llm_core.errors import PedigreeError
from llm_core.train.hardware import FP8_CAPABILITY

FORWARD, BACKWARD = torch.float8_e4m3fn, torch.float8_e5m2
MULTIPLE = 16
"""The kernels want rows and columns in multiples of this."""


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """``nn.functional.linear`` whose three products (result, gradients of input and of weight) are done in 8 bits.

    (…, in) → (…, out) in bf16. All dimensions of ``x`` but the last make up a multiple of 16.
    """
    y: Tensor = _Product.apply(x.flatten(0, -2).bfloat16(), weight)
    y = y.view(*x.shape[:-1], len(weight))
    return y if bias is None else y + bias.to(y.dtype)


class _Product(torch.autograd.Function):
    """x_MK, w_NK → x · wᵀ, (M, N). Products want their first matrix by rows and their second by columns."""

    @staticmethod
    def forward(context: Any, x_MK: Tensor, w_NK: Tensor) -> Tensor:
        context.save_for_backward(x_MK, w_NK)
        x8_MK, x_scale = to_float8(x_MK, FORWARD)
        w8_NK, w_scale = to_float8(w_NK, FORWARD)
        return _multiplied(x8_MK, w8_NK.t(), x_scale, w_scale, fast=True)

    @staticmethod
    def backward(context: Any, grad_MN: Tensor) -> tuple[Tensor, Tensor]:
        x_MK, w_NK = context.saved_tensors
        grad8_MN, grad_scale = to_float8(grad_MN, BACKWARD)
        # By columns: the transposed copy of what is laid out by rows, seen as the matrix itself.
        w8_KN, w_scale = to_float8(w_NK.t(), FORWARD)
        x8_KM, x_scale = to_float8(x_MK.t(), FORWARD)
        grad_x_MK = _multiplied(grad8_MN, w8_KN.t(), grad_scale, w_scale)
        grad_w_NK = _multiplied(grad8_MN.t().contiguous(), x8_KM.t(), grad_scale, x_scale)
        return grad_x_MK, grad_w_NK.to(w_NK.dtype)


def to_float8(x: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """``x`` divided by a scale (fp32 scalar), which makes its largest magnitude the type's, and rounded; by rows."""
    largest = torch.finfo(dtype).max
    scale = (x.detach().abs().amax().float() / largest).clamp(min=1e-12)
    return (x.float() / scale).clamp(-largest, largest).to(dtype).contiguous(), scale


def _multiplied(a8: Tensor, b8: Tensor, a_scale: Tensor, b_scale: Tensor, fast: bool = False) -> Tensor:
    # ``fast`` sums less exactly, as is usual for the forward pass and too coarse for gradients.
    return torch._scaled_mm(
        a8, b8, scale_a=a_scale, scale_b=b_scale, out_dtype=torch.bfloat16, use_fast_accum=fast and a8.is_cuda
    )


def in_float8(blocks: Iterable[nn.Module]) -> tuple[int, int]:
    """Have the linear layers inside ``blocks`` multiply in 8 bits; returns how many do, and how many there are.

    Layers whose sides are no multiples of 16 are left as they are; ``PedigreeError`` where no layer fits.
    """
    layers, fitting = _layers(blocks)
    for layer in fitting:
        layer.forward = _in_float8(layer)  # type: ignore[method-assign, assignment]
    return len(fitting), len(layers)


def check_float8(blocks: Iterable[nn.Module]) -> None:
    """``PedigreeError`` where none of the linear layers inside ``blocks`` can multiply in 8 bits."""
    _layers(blocks)


def _layers(blocks: Iterable[nn.Module]) -> tuple[list[nn.Linear], list[nn.Linear]]:
    """The linear layers but for routers, which are fp32 always; and those among them that fit."""
    modules = [module for block in blocks for module in block.modules()]
    wide = {module.get_parameter(name) for module in modules for name in getattr(module, "wide", ())}
    layers = [module for module in modules if isinstance(module, nn.Linear) and module.weight not in wide]
    fitting = [layer for layer in layers if not (layer.in_features % MULTIPLE or layer.out_features % MULTIPLE)]
    if not fitting:
        raise PedigreeError(
            f"training.precision fp8: none of the {len(layers)} linear layers in the blocks has sides that are "
            f"multiples of {MULTIPLE}: make model.d_model and feed_forward.d_ff such multiples, or set precision to "
            "bf16"
        )
    return layers, fitting


def _in_float8(module: nn.Linear) -> Callable[[Tensor], Tensor]:
    def forward(x: Tensor) -> Tensor:
        return linear(x, module.weight, module.bias)

    return forward


def require_float8(device: torch.device) -> None:
    """``PedigreeError`` for a device that has no 8-bit products."""
    capability = torch.cuda.get_device_capability(device) if device.type == "cuda" else None
    if capability is None or capability < FP8_CAPABILITY:
        found = "a CPU" if capability is None else torch.cuda.get_device_name(device)
        raise PedigreeError(
            f"training.precision fp8 needs a GPU of compute capability {'.'.join(map(str, FP8_CAPABILITY))} or higher "
            f"(Ada, Hopper or newer), and this is {found}: set it to bf16"
        )
