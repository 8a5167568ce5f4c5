"""A model of ours → a GGUF file, which llama.cpp and the programs around it read."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from llm_core.errors import PedigreeError
from llm_core.experiment.exports import GGUFType
from llm_core.model.decoder import Decoder
from llm_core.model.gguf.architectures import architecture_of
from llm_core.model.gguf.header import header
from llm_core.model.gguf.tensors import tensors
from llm_core.model.gguf.vocabulary import vocabulary
from llm_core.model.hf.rope import longest
from llm_core.model.parametrization import folded, folded_spec
from llm_core.registries import HF_FAMILIES

EXACT = ("ffn_gate_inp", "ssm_conv1d", "ssm_a", "ssm_d", "ssm_norm", "shortconv.conv", "position_embd", "rope_freqs")
"""Tensors that stay fp32 in every type. They are small, and llama.cpp reads some of them only so."""

BLOCK = 32
"""Numbers that share a scale in ``q8_0``."""


def export_gguf(
    model: Decoder,
    path: Path,
    *,
    sequence_length: int,
    dtype: GGUFType = "f16",
    tokenizer: Path,
    template: str | None = None,
    stop: Sequence[int] = (),
    name: str = "",
    families: Iterable[str] = HF_FAMILIES,
) -> str:
    """Write ``model`` with its tokenizer as one file. Returns llama.cpp's name of the architecture.

    ``dtype``: of the matrices. ``q8_0``: 8 bits and a scale per 32 numbers; a matrix whose rows are no multiple of 32
    is ``f16``. Vectors are fp32. ``sequence_length``: tokens per sequence in training. ``template``: a chat template.
    ``stop``: the ids that end an answer. ``name``: for people. Raises ``PedigreeError`` for a model, tokenizer or
    template that llama.cpp can't have, with the reasons. The multipliers of a parametrisation go
    into the weights of ``model``, in place.
    """
    import gguf

    architecture = architecture_of(folded_spec(model.spec), families)
    if isinstance(architecture, str):
        raise PedigreeError(f"llama.cpp can't have this model: {architecture}")
    model = folded(model)
    length = longest(model.spec, sequence_length)
    entries = vocabulary(tokenizer, model.vocab_size, template, stop)
    writer = gguf.GGUFWriter(None, architecture.name)
    writer.add_file_type(_FILE_TYPES[dtype])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_name(name)
    own = {**header(model.spec, architecture, length), "vocab_size": model.vocab_size}
    for key, value in ({f"{architecture.name}.{key}": value for key, value in own.items()} | entries).items():
        _put(writer, key, value)
    for theirs, weight in tensors(model, architecture):
        kind = _kind(theirs, weight, dtype)
        packed = gguf.quants.quantize(weight.numpy(), gguf.GGMLQuantizationType[kind.upper()])
        writer.add_tensor(theirs, packed, raw_dtype=gguf.GGMLQuantizationType[kind.upper()])
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        writer.write_header_to_file(path)
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
    except OSError as error:
        raise PedigreeError(f"{path}: can't be written: {error.strerror}; make room, or name another") from None
    finally:
        writer.close()
    return architecture.name


_FILE_TYPES = {"f32": 0, "f16": 1, "q8_0": 7}
"""The numbers that llama.cpp shows as the type of a file."""


def _kind(name: str, weight: Tensor, dtype: GGUFType) -> GGUFType:
    if weight.ndim < 2 or any(part in name for part in EXACT):
        return "f32"
    return "f16" if dtype == "q8_0" and weight.shape[-1] % BLOCK else dtype


def _put(writer: Any, key: str, value: Any) -> None:
    """llama.cpp asks for one type per key: an unsigned whole number, for example, not a signed one."""
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    elif isinstance(value, str):
        writer.add_string(key, value)
    else:
        writer.add_array(key, value)
