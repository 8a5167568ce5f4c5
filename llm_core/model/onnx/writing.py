"""A model of ours → an ONNX file."""

import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from llm_core.errors import PedigreeError
from llm_core.model.clients.parity import LENGTH, ROWS
from llm_core.model.decoder import Decoder
from llm_core.model.parametrization import folded

INPUT, OUTPUT = "input_ids", "logits"


class _Logits(nn.Module):
    """Only the call with token ids: the exporter reads the signature."""

    def __init__(self, model: Decoder) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor) -> Tensor:
        logits: Tensor = self.model(input_ids)
        return logits


def export_onnx(model: Decoder, path: Path) -> None:
    """Write ``model`` as a graph from ``input_ids`` (rows, tokens) to fp32 ``logits`` (rows, tokens, vocabulary).

    There may be any number of rows and of tokens, from 1 on. Each row is one document, and the graph has no decoding
    state. Raises ``PedigreeError`` with the exporter's reason for a model that it can't write. The multipliers of a
    parametrisation go into the weights of ``model``, in place.
    """
    model = folded(model).eval()
    longest = min(LENGTH, model.spec.longest() or LENGTH)
    example = torch.zeros(ROWS, longest, dtype=torch.long)
    any_size = {INPUT: {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                _Logits(model).eval(),
                (example,),
                dynamo=True,
                dynamic_shapes=any_size,
                input_names=[INPUT],
                output_names=[OUTPUT],
                verbose=False,
            )
    except Exception as error:  # the exporter raises many kinds
        raise PedigreeError(f"torch can't write this model as ONNX: {_reason(error)}") from None
    assert program is not None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        program.save(path)
    except OSError as error:
        raise PedigreeError(f"{path}: can't be written: {error.strerror}; make room, or name another") from None


def _reason(error: BaseException) -> str:
    """The first line of the first error: those that follow from it are advice to the authors of the exporter."""
    while error.__cause__ is not None:
        error = error.__cause__
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
