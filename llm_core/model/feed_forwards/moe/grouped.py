"""One matrix product for every group of rows, each with a matrix of its own.

Dimensions: A rows that groups have, R rows of the tensor that holds them, X groups, I and O numbers of a row before and
after.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

MULTIPLE = 8
"""Rows of a group for the kernel of a GPU are a multiple of this: 16 bytes of bf16, by which it reads them in the
gradient of the matrices."""


class Layout(NamedTuple):
    """Where the rows of groups are, in ascending order of groups; R is ``rows``."""

    places_A: Tensor  # noqa: N815
    ends_X: Tensor  # noqa: N815
    """int32."""
    rows: int


def has_kernel(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether ``grouped_product`` is one kernel there."""
    return device.type == "cuda" and dtype == torch.bfloat16


def laid_out(groups_A: Tensor, counts_X: Tensor, aligned: bool) -> Layout:
    """Places for the rows of ``groups_A`` (the group of each, never falling), of which there are ``counts_X``.

    ``aligned``: as the kernel wants them. Every group has a multiple of ``MULTIPLE`` rows, and at least one multiple:
    for a group without rows, some versions of torch leave the gradient of its matrix as it was in memory, or fail
    (pytorch #152668, #172439). Rows without a place must be 0. Behind the last group are rows that the kernel leaves
    out, so that R does not depend on the counts, which only the device knows.
    """
    rows, places_A, ends_X = len(groups_A), torch.arange(len(groups_A), device=groups_A.device), counts_X.cumsum(0)
    if not aligned:
        return Layout(places_A, ends_X.to(torch.int32), rows)
    wide_X = (counts_X + MULTIPLE - 1).div(MULTIPLE, rounding_mode="floor").clamp(min=1) * MULTIPLE
    wide_ends_X = wide_X.cumsum(0)
    moved_X = (wide_ends_X - wide_X) - (ends_X - counts_X)
    # At most MULTIPLE more for each group; and one multiple that is no group's, since the last end must lie before R.
    rows = (-(-rows // MULTIPLE) + len(counts_X) + 1) * MULTIPLE
    return Layout(places_A + moved_X[groups_A], wide_ends_X.to(torch.int32), rows)


def grouped_product(x_RI: Tensor, weight_XIO: Tensor, ends_X: Tensor, kernel: bool = False) -> Tensor:
    """(R, O): rows up to ``ends[0]`` times the first matrix, from there to ``ends[1]`` times the second, …

    ``ends_X``: int32, never falling. What stands in rows from the last end on is undefined. ``kernel``: one kernel
    (``has_kernel``), which wants an ``aligned`` layout, and I and O to be multiples of 8. Else it is a loop, which
    waits for ``ends_X`` on the host; a group may be empty there.
    """
    if kernel:
        return functional.grouped_mm(x_RI, weight_XIO, offs=ends_X)
    product_RO: Tensor = _looped(x_RI, weight_XIO, ends_X)
    return product_RO


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
