"""Grouped matrix products: each group of rows has its own matrix.

Dimensions: A rows of all groups, R rows of the tensor that contains them (with padding), X groups, I and O channels of
a row before and after.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

MULTIPLE = 8
"""The kernel of a GPU needs a multiple of this many rows per group: 16 bytes of bf16, which it reads at once for the
gradient of the matrices."""


class Layout(NamedTuple):
    """The places of rows, in ascending order of groups; R is ``rows``."""

    places_A: Tensor  # noqa: N815
    ends_X: Tensor  # noqa: N815
    """int32."""
    rows: int


def has_kernel(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether ``grouped_product`` has one kernel on ``device``."""
    return device.type == "cuda" and dtype == torch.bfloat16


def laid_out(groups_A: Tensor, counts_X: Tensor, aligned: bool) -> Layout:
    """The layout of rows whose groups are ``groups_A`` (ascending), ``counts_X`` of each group.

    ``aligned``: for the kernel. Every group then has a multiple of ``MULTIPLE`` rows, at least ``MULTIPLE``: for a
    group without rows, some versions of torch fail, or leave the gradient of its matrix uninitialised (pytorch #152668,
    #172439). Rows of padding must be 0. After the last group come rows that the kernel ignores, so that R does not
    depend on the counts, which only the device knows.
    """
    rows, places_A, ends_X = len(groups_A), torch.arange(len(groups_A), device=groups_A.device), counts_X.cumsum(0)
    if not aligned:
        return Layout(places_A, ends_X.to(torch.int32), rows)
    wide_X = (counts_X + MULTIPLE - 1).div(MULTIPLE, rounding_mode="floor").clamp(min=1) * MULTIPLE
    wide_ends_X = wide_X.cumsum(0)
    moved_X = (wide_ends_X - wide_X) - (ends_X - counts_X)
    # At most MULTIPLE more rows per group, and MULTIPLE rows after the last group, since the last end must be below R.
    rows = (-(-rows // MULTIPLE) + len(counts_X) + 1) * MULTIPLE
    return Layout(places_A + moved_X[groups_A], wide_ends_X.to(torch.int32), rows)


def grouped_product(x_RI: Tensor, weight_XIO: Tensor, ends_X: Tensor, kernel: bool = False) -> Tensor:
    """(R, O): rows below ``ends[0]`` times the first matrix, rows from there to ``ends[1]`` times the second, …

    ``ends_X``: int32, ascending. Rows from the last end on are undefined. ``kernel``: use one kernel (``has_kernel``),
    which needs an ``aligned`` layout, and I and O that are multiples of 8. Otherwise a loop, for which the host waits
    for ``ends_X``; groups may then be empty.
    """
    if kernel:
        return functional.grouped_mm(x_RI, weight_XIO, offs=ends_X)
    product_RO: Tensor = _looped(x_RI, weight_XIO, ends_X)
    return product_RO


# A custom operator, since a compiler can't trace a loop whose bounds are data.
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
