"""The files of a Hugging Face folder, read and checked."""

import json
from pathlib import Path
from typing import Any

from torch import Tensor

from llm_core.errors import PedigreeError

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"), object_hook=_number)
    except FileNotFoundError:
        raise PedigreeError(f"{path}: there is no such file; give a folder with {CONFIG} and safetensors") from None
    except (OSError, ValueError, RecursionError) as error:
        raise PedigreeError(f"{path}: can't be read as JSON: {error}") from None
    if not isinstance(data, dict):
        raise PedigreeError(f"{path}: holds {type(data).__name__}, not an object with keys")
    return data


def _number(found: dict[str, Any]) -> Any:
    """JSON has no infinity. transformers writes an object instead."""
    return float(found["__float__"]) if found.keys() == {"__float__"} else found


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """All tensors of ``model.safetensors``, or of the files that the index names, as they are stored.

    Raises ``PedigreeError`` for files that are missing, damaged or contradictory, and for folders with only pickled
    weights, since opening a pickle runs its code.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    tensors: dict[str, Tensor] = {}
    for path in weight_files(folder):
        try:
            found = load_file(path)
        except FileNotFoundError:
            raise PedigreeError(f"{path}: there is no such file, and {INDEX} names it; fetch it again") from None
        except (OSError, SafetensorError) as error:
            raise PedigreeError(f"{path}: not readable as safetensors ({error}); fetch it again") from None
        twice = sorted(tensors.keys() & found.keys())
        if twice:
            raise PedigreeError(f"{path}: {twice[0]} is in another file, too, and nobody knows which one counts")
        tensors |= found
    return tensors


def weight_files(folder: Path) -> list[Path]:
    """``model.safetensors``, or the files that the index names. Raises ``PedigreeError``."""
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    if (folder / INDEX).is_file():
        index = read_json(folder / INDEX).get("weight_map")
        names = sorted(set(index.values())) if isinstance(index, dict) else []
        if not names or any(not isinstance(name, str) or Path(name).name != name for name in names):
            raise PedigreeError(f"{folder / INDEX}: weight_map does not say which files hold the tensors")
        return [folder / name for name in names]
    pickled = sorted(path.name for pattern in ("*.bin", "*.pt", "*.pth") for path in folder.glob(pattern))
    if pickled:
        raise PedigreeError(
            f"{folder}: has {pickled[0]}, which is pickled Python: opening it runs what it holds. "
            "Convert the weights to safetensors, or fetch a revision that has them"
        )
    raise PedigreeError(f"{folder}: has neither {WEIGHTS} nor {INDEX}")
