"""A model of ours → a Hugging Face folder."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from llm_core.errors import PedigreeError
from llm_core.model.decoder import Decoder
from llm_core.model.hf.families import family_of
from llm_core.model.hf.family import Family
from llm_core.model.hf.reading import CONFIG, INDEX, WEIGHTS
from llm_core.model.hf.rope import longest
from llm_core.model.parametrization import folded, folded_spec
from llm_core.registries import HF_FAMILIES
from llm_core.tokens.prompts import FORM, for_prompts
from llm_core.tokens.tokenizer import end_of_text, load_tokenizer, unknown_id, vocabulary_size

FILE_BYTES = 5_000_000_000
"""The largest size of a file of weights."""

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


_README = """# Text for this model

`tokenizer.json` brings the characters of texts into the form of the documents that the model was trained on: Unicode's
form, quotation marks, case, and which kinds of characters there are (its `normalizer`).

Documents also had no white space at the end of a line, never more than one empty line between two others, and no white
space at either end. The tokenizer leaves these as they are: a prompt that ends in a space still does. Nor does it leave
out what rules of the cleaning took out of documents (addresses, say).
"""


def export_folder(
    model: Decoder,
    folder: Path,
    *,
    sequence_length: int,
    tokenizer: Path | None = None,
    dtype: str = "fp32",
    file_bytes: int = FILE_BYTES,
    families: Iterable[str] = HF_FAMILIES,
) -> Family:
    """Write ``model`` so that ``transformers`` loads it. Returns the first of ``families`` that can express it.

    ``sequence_length``: tokens per sequence in training, the longest that the configuration declares. ``tokenizer``:
    our ``tokenizer.json``, whose end-of-text token will end generation. ``dtype``: ``fp32`` or ``bf16``. Raises
    ``PedigreeError`` for a model that no family can express, with the reasons of each, and for a tokenizer with more
    ids than the model. The multipliers of a parametrisation go into the weights of ``model``, in place.
    """
    family = family_of(folded_spec(model.spec), families)
    model = folded(model)
    length = longest(model.spec, sequence_length)
    tokens, end_id = ({}, None) if tokenizer is None else _special_tokens(tokenizer, model.vocab_size)
    ends = {"bos_token_id": end_id, "eos_token_id": end_id}
    settings = {
        CONFIG: {
            "architectures": [family.architecture],
            "model_type": family.name,
            **family.write(model.spec),
            **({} if family.length is None else {family.length: length}),
            "vocab_size": model.vocab_size,
            "torch_dtype": str(DTYPES[dtype]).removeprefix("torch."),
            "pad_token_id": None,
            **ends,
        },
        "generation_config.json": ends,
    }
    if tokenizer is not None:
        settings["tokenizer_config.json"] = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            **tokens,
            "model_max_length": length,
            "clean_up_tokenization_spaces": False,
        }
        settings["special_tokens_map.json"] = tokens
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in settings.items():
            _write_json(folder / name, content)
        if tokenizer is not None:
            text = json.dumps(for_prompts(tokenizer), ensure_ascii=False)
            (folder / "tokenizer.json").write_text(text, encoding="utf-8")
            if tokenizer.with_name(FORM).is_file():
                (folder / "README.md").write_text(_README, encoding="utf-8")
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


def _special_tokens(tokenizer: Path, vocab_size: int) -> tuple[dict[str, str], int]:
    """(role → token, the id of the end of text). The token that ends a document also begins a text. The unknown token
    replaces bytes without an entry."""
    opened = load_tokenizer(tokenizer)
    if vocabulary_size(opened) > vocab_size:
        raise PedigreeError(
            f"{tokenizer}: has {vocabulary_size(opened)} ids, but the model has {vocab_size}; use the tokenizer that "
            "the model was trained with"
        )
    end = end_of_text(opened, tokenizer)
    roles = {"bos_token": end, "eos_token": end, "unk_token": unknown_id(opened)}
    return {role: str(opened.id_to_token(number)) for role, number in roles.items() if number is not None}, end


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
