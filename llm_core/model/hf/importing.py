"""A Hugging Face folder → a model of ours."""

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from llm_core.errors import PedigreeError
from llm_core.experiment.model import ModelSpec
from llm_core.model.build import build_model
from llm_core.model.hf.config import UnsupportedError
from llm_core.model.hf.families import family_named
from llm_core.model.hf.family import Family
from llm_core.model.hf.reading import CONFIG, read_json, read_tensors
from llm_core.model.hf.weights import Weight

NAMED = 5
"""The number of tensors that an error names."""


class Imported(NamedTuple):
    """``weights``: fp32, for ``load_state_dict`` of ``build_model(spec, vocab_size)``."""

    spec: ModelSpec
    vocab_size: int
    weights: dict[str, Tensor]


def import_folder(folder: Path) -> Imported:
    """The model in a folder that ``transformers`` can read: ``config.json`` and safetensors in one or several files.

    Settings for training only (``dropout``, document masks) are not imported, except ``attention_dropout``. Raises
    ``PedigreeError`` for an architecture or a setting that no ``ModelSpec`` supports, and for tensors that are missing,
    unknown, of another shape, quantised, or not finite.
    """
    family, spec, vocab_size = _described(folder / CONFIG)
    found = read_tensors(folder)
    if found and not any(name.startswith(family.prefix) for name in found):
        found = {f"{family.prefix}{name}": tensor for name, tensor in found.items()}
    found = family.older(read_json(folder / CONFIG), found)
    expected = build_model(spec, vocab_size, device="meta").state_dict()
    weights = {}
    for weight in family.weights(spec):
        missing = [name for name in weight.theirs if name not in found]
        if missing:
            raise PedigreeError(f"{folder}: no weights {_few(missing)}, which {CONFIG} asks for")
        theirs = [found.pop(name) for name in weight.theirs]
        weights[weight.ours] = _joined(folder, weight, theirs, expected[weight.ours])
    _check_left_over(folder, family, found, weights["embedding.weight"])
    if weights.keys() != expected.keys():
        raise AssertionError(f"{family.name} does not name {weights.keys() ^ expected.keys()}")
    return Imported(spec, vocab_size, weights)


def _described(path: Path) -> tuple[Family, ModelSpec, int]:
    config = read_json(path)
    try:
        family = family_named(config.get("model_type"))
        if config.get("quantization_config") is not None:
            raise UnsupportedError("quantization_config: quantised weights can't be imported")
        vocab_size = config.get("vocab_size")
        if not isinstance(vocab_size, int) or isinstance(vocab_size, bool) or vocab_size < 1:
            raise UnsupportedError(f"vocab_size is {vocab_size!r}; it must be a whole number from 1 on")
        return family, family.read(config), vocab_size
    except UnsupportedError as error:
        raise PedigreeError(f"{path}: {error}") from None
    except (TypeError, ValueError, AttributeError, ArithmeticError, LookupError) as error:
        raise PedigreeError(f"{path}: a value is not what it should be: {error}") from None


def _joined(folder: Path, weight: Weight, theirs: list[Tensor], expected: Tensor) -> Tensor:
    """Our tensor, checked."""
    names = _few(list(weight.theirs))
    for tensor in theirs:
        if tensor.dtype not in (torch.float32, torch.bfloat16, torch.float16):
            raise PedigreeError(f"{folder}: {names}: {tensor.dtype} can't be imported; fp32, bf16 or fp16 can")
        if not torch.isfinite(tensor).all():
            raise PedigreeError(f"{folder}: {names}: values that are not finite; the file is damaged, fetch it again")
    try:
        ours = weight.form.join([tensor.float() for tensor in theirs]).contiguous()
    except (RuntimeError, IndexError) as error:
        raise PedigreeError(f"{folder}: {names}: shapes that don't go together ({error})") from None
    if ours.shape != expected.shape:
        raise PedigreeError(f"{folder}: {names}: {tuple(ours.shape)}, where {CONFIG} asks for {tuple(expected.shape)}")
    return ours


def _check_left_over(folder: Path, family: Family, found: dict[str, Tensor], embedding: Tensor) -> None:
    """Raise for unused tensors. Tensors that are not weights, and a copy of the tied head, are allowed."""
    left = [name for name in found if not family.ignored.search(name)]
    if left == [family.head] and torch.equal(found[family.head].float(), embedding):
        return
    if left:
        raise PedigreeError(f"{folder}: {CONFIG} does not describe the weights {_few(left)}")


def _few(names: list[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


class Description(NamedTuple):
    """What ``config.json`` says of a model. ``longest``: tokens that it was made for; None where it does not say."""

    spec: ModelSpec
    vocab_size: int
    longest: int | None


def read_description(folder: Path) -> Description:
    """The model of a folder, from ``config.json`` alone. Raises ``PedigreeError`` as ``import_folder`` does."""
    family, spec, vocab_size = _described(folder / CONFIG)
    longest = read_json(folder / CONFIG).get(family.length or "")
    return Description(spec, vocab_size, longest if isinstance(longest, int) else None)
