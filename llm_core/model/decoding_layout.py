"""The layout of a model's matrices in memory that generation reads fastest."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from llm_core.model.fused import FusedLinear

ROWS = 8
"""The number of rows that oneDNN lays a matrix out for: as many answers as the server writes at once by default."""
FEWEST_ROWS = 4
"""Two or three rows are filled up with zeros: with large matrices, their products take longer than those of four."""
LARGE = 2**18
"""Numbers of a large matrix."""


@torch.no_grad()
def lay_out_for_decoding(model: Any) -> None:
    """Store the matrices of ``model`` (a ``Decoder``) for products with few rows, in place. It can then only generate.

    A new token costs as much time as reading all matrices from memory, and on CPUs the layout decides how fast that is
    (``benchmarks.generation``). For one row, matrices with more outputs than inputs are stored column by column. With
    AVX-512, oneDNN's blocks are faster for several rows, so matrices are there in both layouts, and take their memory
    twice.
    """
    weight = model.embedding.weight
    if weight.device.type != "cpu" or weight.dtype != torch.float32:
        return
    _store_columns(model)
    if torch.backends.mkldnn.is_available() and torch.backends.cpu.get_cpu_capability() == "AVX512":
        _pack(model)


def _pack(model: Any) -> None:
    for module in list(model.modules()):
        for name, child in module.named_children():
            if type(child) in (nn.Linear, FusedLinear):  # a subclass of a plug-in may compute something else
                setattr(module, name, PackedLinear(child.weight, child.bias, getattr(child, "parts", ())))
    if model.head is None:
        model.head = PackedLinear(model.embedding.weight, None)


def _store_columns(model: Any) -> None:
    linear = [module.weight for module in model.modules() if isinstance(module, nn.Linear)]
    for weight in [*linear, *([model.embedding.weight] if model.head is None else [])]:
        if weight.shape[0] > weight.shape[1]:
            weight.data = weight.data.t().contiguous().t()


class PackedLinear(nn.Module):
    """A linear map of fp32 vectors whose matrix is also there in oneDNN's layout, for inference.

    ``weight``: the matrix, for a single row, and for mixers that compute with the matrix itself.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, parts: tuple[int, ...] = ()) -> None:
        super().__init__()
        self.out_features, self.in_features = weight.shape
        self.parts = parts  # of a ``FusedLinear``
        self.weight, self.bias = weight.detach(), bias
        self._packed = torch.ops.mkldnn._reorder_linear_weight(self.weight.contiguous(), ROWS)
        self._large = weight.numel() > LARGE

    def forward(self, x: Tensor) -> Tensor:
        """(…, inputs) → (…, outputs)."""
        count = x.numel() // self.in_features
        if count == 1:
            return functional.linear(x, self.weight, self.bias)
        missing = max(FEWEST_ROWS - count, 0) if self._large else 0
        rows = functional.pad(x.reshape(-1, self.in_features), (0, 0, 0, missing)) if missing else x
        y: Tensor = torch.ops.mkldnn._linear_pointwise(rows, self._packed, self.bias, "none", [], "")
        return y[:-missing].view(*x.shape[:-1], self.out_features) if missing else y
