"""The layout of a model's matrices in memory that generation reads fastest."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from llm_core.model.fused import FusedLinear

ROWS = 8
"""The number of rows that oneDNN lays a matrix out for: as many answers as the server writes at once by default."""
FEWEST_ROWS = 4
"""Fewer rows are filled up with zeros: with large matrices, oneDNN's products of one to three rows take longer than
those of four."""
LARGE = 2**18
"""Numbers of a large matrix."""


@torch.no_grad()
def lay_out_for_decoding(model: Any) -> None:
    """Store the matrices of ``model`` (a ``Decoder``) for products with few rows, in place. It can then only generate.

    A new token costs as much time as reading all matrices from memory, and on CPUs the layout decides how fast that is
    (``benchmarks.generation``). With AVX-512, oneDNN's blocks are the fastest for one row and for many. A tied head
    then gets a copy of the embedding, which takes its memory twice. Without AVX-512, they are slower for one row than
    matrices that are stored column by column, where these have more outputs than inputs.
    """
    weight = model.embedding.weight
    if weight.device.type != "cpu" or weight.dtype != torch.float32:
        return
    if torch.backends.mkldnn.is_available() and torch.backends.cpu.get_cpu_capability() == "AVX512":
        _pack(model)
    else:
        _store_columns(model)


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
    """A linear map of fp32 vectors whose matrix is in oneDNN's layout, for inference."""

    def __init__(self, weight: Tensor, bias: Tensor | None, parts: tuple[int, ...] = ()) -> None:
        super().__init__()
        self.parts = parts  # of a ``FusedLinear``
        self._large = weight.numel() > LARGE
        self.out_features, self.in_features = weight.shape
        self.bias = bias
        self._packed: Tensor | None = torch.ops.mkldnn._reorder_linear_weight(weight.detach(), ROWS)
        self._rows: Tensor | None = None

    @property
    def weight(self) -> Tensor:
        """The matrix, row by row. Mixers that compute with the matrix itself read it in every step, so it stays so."""
        if self._packed is not None:
            self._rows, self._packed = self._packed.to_dense(), None
        assert self._rows is not None
        return self._rows

    def forward(self, x: Tensor) -> Tensor:
        """(…, inputs) → (…, outputs)."""
        if self._packed is None:
            return functional.linear(x, self.weight, self.bias)
        missing = max(FEWEST_ROWS - x.numel() // self.in_features, 0) if self._large else 0
        rows = functional.pad(x.reshape(-1, self.in_features), (0, 0, 0, missing)) if missing else x
        y: Tensor = torch.ops.mkldnn._linear_pointwise(rows, self._packed, self.bias, "none", [], "")
        return y[:-missing].view(*x.shape[:-1], self.out_features) if missing else y
