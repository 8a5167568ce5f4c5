"""Formulas for operators of ours, so that torch counts their FLOPs."""

import math
from typing import Any

import torch
from torch.utils.flop_counter import register_flop_formula

import llm_core.model.feed_forwards.moe.grouped  # (it defines an operator, and so does the next)
import llm_core.model.mixers.hyena.convolution  # noqa: F401


@register_flop_formula(torch.ops.pedigree.grouped_product)
def grouped_flops(x_shape: tuple[int, int], weight_shape: tuple[int, int, int], *_: Any, **__: Any) -> int:
    return 2 * x_shape[0] * weight_shape[1] * weight_shape[2]


@register_flop_formula(torch.ops.pedigree.far_convolution)
def transform_flops(x_shape: tuple[int, int, int], *_: Any, **__: Any) -> int:
    """For one pair of blocks of 8 tokens: two real transforms of 16 points, a complex product of their 9 numbers."""
    rows, length, channels = x_shape
    assert length == 16
    return rows * channels * (2 * 5 * 16 * 4 // 2 + 6 * 9)


@register_flop_formula(torch.ops.aten.linalg_solve_triangular)
def triangular_flops(_: tuple[int, ...], right_shape: tuple[int, ...], *__: Any, **___: Any) -> int:
    *systems, unknowns, sides = right_shape
    return math.prod(systems) * sides * unknowns**2
