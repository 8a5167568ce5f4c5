"""One matrix product for every group of rows, each with a matrix of its own.

Dimensions: A rows, X groups, I and O numbers of a row before and after.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional


def grouped_product(x_AI: Tensor, weight_XIO: Tensor, ends_X: Tensor) -> Tensor:
    """(A, O): rows up to ``ends[0]`` times the first matrix, from there to ``ends[1]`` times the second, …

    ``ends_X``: int32, never falling, the last is A; a group may be empty. In bf16 on CUDA it is one kernel, which wants
    I and O to be multiples of 8. Elsewhere it is a loop, which waits for ``ends_X`` on the host.
    """
    if x_AI.device.type == "cuda" and x_AI.dtype == torch.bfloat16:
        return functional.grouped_mm(x_AI, weight_XIO, offs=ends_X)
    product_AO: Tensor = _looped(x_AI, weight_XIO, ends_X)
    return product_AO


# An operator of torch's own kind: a compiler can't look through a loop whose bounds are data.
@torch.library.custom_op("pedigree::grouped_product", mutates_args=())
def _looped(x_AI: Tensor, weight_XIO: Tensor, ends_X: Tensor) -> Tensor:
    product_AO = x_AI.new_empty(len(x_AI), weight_XIO.shape[2])
    for group, rows in enumerate(_groups(ends_X)):
        torch.mm(x_AI[rows], weight_XIO[group], out=product_AO[rows])
    return product_AO


@_looped.register_fake
def _(x_AI: Tensor, weight_XIO: Tensor, ends_X: Tensor) -> Tensor:
    del ends_X
    return x_AI.new_empty(x_AI.shape[0], weight_XIO.shape[2])


@torch.library.custom_op("pedigree::grouped_product_backward", mutates_args=())
def _gradients(upstream_AO: Tensor, x_AI: Tensor, weight_XIO: Tensor, ends_X: Tensor) -> tuple[Tensor, Tensor]:
    x_grad_AI, weight_grad_XIO = x_AI.new_empty(x_AI.shape), weight_XIO.new_empty(weight_XIO.shape)
    for group, rows in enumerate(_groups(ends_X)):
        torch.mm(upstream_AO[rows], weight_XIO[group].T, out=x_grad_AI[rows])
        torch.mm(x_AI[rows].T, upstream_AO[rows], out=weight_grad_XIO[group])  # 0 for a group without rows
    return x_grad_AI, weight_grad_XIO


@_gradients.register_fake
def _(upstream_AO: Tensor, x_AI: Tensor, weight_XIO: Tensor, ends_X: Tensor) -> tuple[Tensor, Tensor]:
    del upstream_AO, ends_X
    return x_AI.new_empty(x_AI.shape), weight_XIO.new_empty(weight_XIO.shape)


def _groups(ends_X: Tensor) -> list[slice]:
    ends = ends_X.tolist()
    return [slice(start, stop) for start, stop in zip([0, *ends[:-1]], ends, strict=True)]


def _keep(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
    del output
    ctx.save_for_backward(*inputs)


def _backward(ctx: Any, upstream_AO: Tensor) -> tuple[Tensor, Tensor, None]:
    return *_gradients(upstream_AO, *ctx.saved_tensors), None


_looped.register_autograd(_backward, setup_context=_keep)
