"""A model of ours → a Hugging Face folder."""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from llm_core.errors import PedigreeError
from llm_core.model.decoder import Decoder
from llm_core.model.hf.families import chosen_family
from llm_core.model.hf.family import Family
from llm_core.model.hf.reading import CONFIG, INDEX, WEIGHTS
from llm_core.model.hf.rope import longest
from llm_core.model.hf.tokenizer_files import tokenizer_files
from llm_core.model.parametrization import folded, folded_spec
from llm_core.registries import HF_FAMILIES

FILE_BYTES = 5_000_000_000
"""The largest size of a file of weights."""

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def export_folder(
    model: Decoder,
    folder: Path,
    *,
    sequence_length: int,
    tokenizer: Path | None = None,
    stop: Sequence[int] = (),
    dtype: str = "fp32",
    file_bytes: int = FILE_BYTES,
    families: Iterable[str] = HF_FAMILIES,
) -> Family:
    """Write ``model`` so that ``transformers`` loads it. Returns the first of ``families`` that can express it; if none
    can, the folder has the code of the model, for ``trust_remote_code=True``.

    ``sequence_length``: tokens per sequence in training, the longest that the configuration declares. ``tokenizer``:
    our ``tokenizer.json``, whose end-of-text token will begin texts and end generation. ``stop``: the ids that end an
    answer of a tuned model; they end generation, too. ``dtype``: ``fp32`` or ``bf16``.

    Raises ``PedigreeError`` for a model with components of plug-ins that no family can express, with the reasons of
    each family, and for a tokenizer with more ids than the model. The multipliers of a parametrisation go into the
    weights of ``model``, in place.
    """
    family = chosen_family(folded_spec(model.spec), families)
    model = folded(model)
    length = longest(model.spec, sequence_length)
    tokens = None if tokenizer is None else tokenizer_files(tokenizer, model.vocab_size, length)
    end_id = None if tokens is None else tokens.end_id
    ends = {"bos_token_id": end_id, "eos_token_id": end_id}
    others = [number for number in stop if number != end_id]
    ended_by = [*([] if end_id is None else [end_id]), *others]
    settings = {
        CONFIG: {
            "architectures": [family.architecture],
            "model_type": family.name,
            **family.write(model.spec),
            **({} if family.length is None else {family.length: length}),
            "vocab_size": model.vocab_size,
            "torch_dtype": str(DTYPES[dtype]).removeprefix("torch."),
            "pad_token_id": None,  # with one, transformers would not train that token's embedding
            **ends,
        },
        "generation_config.json": {
            **ends,
            "eos_token_id": ended_by if others else end_id,
            "pad_token_id": end_id,
        },
    }
    texts = {**({} if tokens is None else tokens.texts), **family.code(model.spec)}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in settings.items():
            _write_json(folder / name, content)
        for name, text in texts.items():
            (folder / name).write_text(text, encoding="utf-8")
        _write_weights(folder, dict(_theirs(family, model, DTYPES[dtype])), file_bytes)
    except OSError as error:
        raise PedigreeError(f"{folder}: can't be written: {error.strerror}; make room, or name another") from None
    return family


def _theirs(family: Family, model: Decoder, dtype: torch.dtype) -> Iterator[tuple[str, Tensor]]:
    ours = {name: tensor.detach() for name, tensor in model.state_dict().items()}
    exact = dict(model.named_buffers()).keys()  # bf16 would round the steps of selection biases
    for weight in family.weights(model.spec):
        parts = weight.form.split(ours.pop(weight.ours).float())
        for name, tensor in zip(weight.theirs, parts, strict=True):
            yield name, tensor.to("cpu", torch.float32 if weight.ours in exact else dtype).contiguous()
    if ours:
        raise AssertionError(f"{family.name} does not name {sorted(ours)}")


def _write_weights(folder: Path, tensors: dict[str, Tensor], file_bytes: int) -> None:
    """Write one file, or an index and several files, each with tensors of at most ``file_bytes``."""
    from safetensors.torch import save  # its function that writes files hides the reason of an error

    files: list[dict[str, Tensor]] = [{}]
    room = file_bytes
    for name, tensor in tensors.items():
        if tensor.nbytes > room and files[-1]:
            files.append({})
            room = file_bytes
        files[-1][name] = tensor
        room -= tensor.nbytes
    metadata = {"format": "pt"}
    if len(files) == 1:
        (folder / WEIGHTS).write_bytes(save(files[0], metadata))
        return
    names = [f"model-{number:05}-of-{len(files):05}.safetensors" for number in range(1, len(files) + 1)]
    for name, content in zip(names, files, strict=True):
        (folder / name).write_bytes(save(content, metadata))
    total = sum(tensor.nbytes for tensor in tensors.values())
    places = {tensor: name for name, content in zip(names, files, strict=True) for tensor in content}
    _write_json(folder / INDEX, {"metadata": {"total_size": total}, "weight_map": places})


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
