"""The layout of a model's matrices in memory that generation reads fastest."""

import torch
from torch import nn


@torch.no_grad()
def lay_out_for_decoding(model: nn.Module) -> None:
    """Store matrices with more outputs than inputs column by column, in place. Shapes and values stay.

    The product with a single token takes as long as reading the matrix from memory. On CPUs, torch reads a matrix of N
    outputs and K inputs faster if it is stored column by column, for N > K. From 8 rows on, both are equal
    (``benchmarks.generation``). A tied head is laid out with its embedding.
    """
    if next(model.parameters()).device.type != "cpu":
        return
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Embedding) and module.weight.shape[0] > module.weight.shape[1]:
            module.weight.data = module.weight.data.t().contiguous().t()
