"""A model as a folder: ``model.safetensors`` and ``model.json``."""

import json
import zlib
from pathlib import Path
from typing import Any

import torch
from torch import nn

from llm_core.errors import PedigreeError
from llm_core.experiment.model import ModelSpec
from llm_core.model.build import build_model
from llm_core.model.decoder import Decoder

WEIGHTS = "model.safetensors"
INFO = "model.json"


def save_model(model: nn.Module, spec: ModelSpec, vocab_size: int, folder: Path, **info: Any) -> None:
    """Write the weights, then ``{"spec", "vocab_size", "weights_crc32", **info}``, into ``folder``.

    The files depend on the arguments only: equal weights give equal bytes. Raises ``OSError`` if they can't be written
    (safetensors' own writer would hide the reason).
    """
    from safetensors.torch import save

    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    content = save(tensors)
    (folder / WEIGHTS).write_bytes(content)
    description = {
        "spec": spec.model_dump(mode="json"),
        "vocab_size": vocab_size,
        "weights_crc32": zlib.crc32(content),
        **info,
    }
    (folder / INFO).write_text(json.dumps(description, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def read_info(folder: Path) -> tuple[ModelSpec, dict[str, Any]]:
    """The specification in ``model.json``, and its other entries (``vocab_size``, ``step``, …)."""
    path = folder / INFO
    try:
        info = json.loads(path.read_text(encoding="utf-8"))
        spec = ModelSpec.model_validate_json(json.dumps(info.pop("spec")))
        for field in ("vocab_size", "weights_crc32"):
            if not isinstance(info[field], int):
                raise TypeError(f"{field} is {info[field]!r}")
    except FileNotFoundError:
        raise PedigreeError(f"{path}: there is no such file; a model folder holds {INFO} and {WEIGHTS}") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise PedigreeError(f"{path}: not the description of a model ({error}); make the model again") from None
    return spec, info


def check_model(folder: Path, spec: ModelSpec) -> None:
    """Raise ``PedigreeError`` if the model in ``folder`` has another specification."""
    if read_info(folder)[0] != spec:
        raise PedigreeError(f"{folder}: holds another model than the experiment describes; make it again")


def load_model(folder: Path, device: torch.device | str = "cpu") -> tuple[Decoder, dict[str, Any]]:
    """The model in ``folder`` on ``device``, and ``model.json`` without its specification.

    Raises ``PedigreeError`` for files that are missing, truncated, changed by a single bit, or of different models.
    Names, shapes and types must match the specification, and all values must be finite.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    spec, info = read_info(folder)
    path = folder / WEIGHTS
    try:
        if _crc32(path) != info["weights_crc32"]:
            raise PedigreeError(f"{path}: cut short, damaged, or not what {INFO} describes; make the model again")
        tensors = load_file(path, device=str(device))
    except FileNotFoundError:
        raise PedigreeError(f"{path}: there is no such file; make the model again") from None
    except (OSError, SafetensorError) as error:
        raise PedigreeError(f"{path}: not readable as weights ({error}); make the model again") from None
    model = build_model(spec, info["vocab_size"], device="meta")
    _check(path, model.state_dict(), tensors)
    model.load_state_dict(tensors, assign=True)
    return model, info


def _crc32(path: Path) -> int:
    # zlib and not xxhash: the training path imports only torch, numpy and pydantic.
    value = 0
    with path.open("rb") as file:
        while chunk := file.read(1 << 24):
            value = zlib.crc32(chunk, value)
    return value


def _check(path: Path, expected: dict[str, torch.Tensor], found: dict[str, torch.Tensor]) -> None:
    if expected.keys() != found.keys():
        different = ", ".join(sorted(expected.keys() ^ found.keys())[:5])
        raise PedigreeError(
            f"{path}: its tensors do not match {INFO}; missing or unexpected: {different}; make the model again"
        )
    for name, tensor in found.items():
        wanted = expected[name]
        if (tensor.shape, tensor.dtype) != (wanted.shape, wanted.dtype):
            raise PedigreeError(
                f"{path}: {name} is {tensor.dtype} {tuple(tensor.shape)}, "
                f"but {INFO} asks for {wanted.dtype} {tuple(wanted.shape)}"
            )
        if not torch.isfinite(tensor).all():
            raise PedigreeError(f"{path}: {name} holds values that are not finite; the file is damaged, make it again")
