"""Paths in an experiment. A relative path starts at the folder of the YAML file that contains it.

Every text of a YAML file remembers the file's folder (``placed``) until it is checked, also through ``extends``. So the
type of a field is enough to make it a path, in a section and in a component of a plug-in.
"""

import glob
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from llm_core.runtime_only import runtime_only


@runtime_only("says where files lie, and no identity holds that")
class _Placed(str):
    """A text of a YAML file in ``folder``."""

    folder: Path


def placed(data: Any, folder: Path) -> Any:
    """``data`` as read from a YAML file in ``folder``, with texts that remember it.

    ``ValueError`` for a value that JSON does not have, such as a date.
    """
    if isinstance(data, dict):
        return {name: placed(value, folder) for name, value in data.items()}
    if isinstance(data, list):
        return [placed(value, folder) for value in data]
    if isinstance(data, str):
        text = _Placed(data)
        text.folder = folder
        return text
    if data is None or isinstance(data, bool | int | float):
        return data
    raise ValueError(f"{data} is not a number, text, list or mapping; for a text, put it in quotation marks")


def _path(value: Any) -> Any:
    if not isinstance(value, _Placed) or not value:
        return value
    try:
        return str(value.folder / Path(value).expanduser())
    except RuntimeError as error:
        raise ValueError(f"{error}; write the folder out") from None


def _pattern(value: Any) -> Any:
    """Escapes the folder's own name. A home folder (``~``) is expanded when the files are searched."""
    if not isinstance(value, _Placed) or not value or value.startswith("~") or Path(value).is_absolute():
        return value
    return f"{glob.escape(str(value.folder))}/{value}"


def resolved(written: Any, checked: Any) -> Any:
    """``written``, as read from a YAML file, with the paths of ``checked``, the specification that was made of it."""
    if isinstance(written, _Placed):
        return checked if isinstance(checked, str) else written
    if isinstance(written, dict):
        return {name: resolved(part, getattr(checked, name, None)) for name, part in written.items()}
    if isinstance(written, list | tuple) and isinstance(checked, tuple) and len(written) == len(checked):
        return type(written)(resolved(part, item) for part, item in zip(written, checked, strict=True))
    return written


YamlPath = Annotated[str, Field(min_length=1), BeforeValidator(_path)]
"""A file or a folder."""

YamlPattern = Annotated[str, Field(min_length=1), BeforeValidator(_pattern)]
"""A glob pattern, or a folder, which means all files in it."""
