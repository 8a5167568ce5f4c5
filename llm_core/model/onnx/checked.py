"""A folder with an ONNX file that is kept only if onnxruntime, where it is installed, computes what ours does."""

from pathlib import Path

from llm_core.errors import PedigreeError
from llm_core.model.decoder import Decoder
from llm_core.model.hf.rope import longest
from llm_core.model.hf.tokenizer_files import tokenizer_files
from llm_core.model.onnx.results import BOUND, ONNXExport
from llm_core.model.onnx.runtime_client import check
from llm_core.model.onnx.writing import export_onnx

FILE = "model.onnx"


def write_checked(model: Decoder, folder: Path, *, sequence_length: int, tokenizer: Path) -> ONNXExport:
    """Write ``model.onnx`` and the tokenizer's files. ``sequence_length``: tokens per sequence in training."""
    path = folder / FILE
    try:
        export_onnx(model, path)
    except PedigreeError as error:
        return ONNXExport(refused=str(error), parity=None)
    parity = check(path, model)
    if problems := parity.problems(BOUND):
        for written in folder.glob(f"{FILE}*"):  # large models have their weights beside it
            written.unlink()
        return ONNXExport(refused=f"{parity.client}: {'; '.join(problems)}; the file was not kept", parity=parity)
    tokens = tokenizer_files(tokenizer, model.vocab_size, longest(model.spec, sequence_length))
    for name, text in tokens.texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    return ONNXExport(refused=None, parity=parity)
