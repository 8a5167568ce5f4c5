"""The JSON schema for editors. No key is required, because a file may extend another one."""

import json
from pathlib import Path
from typing import Any

from llm_core.errors import PedigreeError
from pipelines.reference.models import ROOT, schema

UNDERSCORES = r"^[-+]?[0-9]+(_[0-9]+)+(\.[0-9]*)?$"
"""``12_000_000`` is a number for Pedigree, but a string in YAML 1.2, which editors use."""

_PEDIGREES_OWN = ("absent", "component", "outside_identity", "discriminator")
"""Keys that are not part of JSON schema."""


def editor_schema() -> dict[str, Any]:
    """A schema of draft 7, which editors support best.

    It allows more than the loader: no key is required, and ``null`` is valid for any mapping, because a file may extend
    another one. Only the loader checks settings that depend on each other.
    """
    definitions = {name: _widened(plain) for name, plain in schema().items()}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Experiment of Pedigree",
        "allOf": [{"$ref": f"#/$defs/{ROOT}"}],
        "$defs": definitions,
    }


def write(path: Path) -> None:
    """Write the schema to ``path``. Raises ``PedigreeError`` if that is not possible."""
    try:
        path.write_text(text(), encoding="utf-8")
    except OSError as error:
        raise PedigreeError(f"{path}: can't be written: {error.strerror}") from None


def text() -> str:
    """The schema as JSON."""
    return json.dumps(editor_schema(), indent=1, ensure_ascii=False) + "\n"


def _widened(plain: Any) -> Any:
    if isinstance(plain, list):
        return [_widened(item) for item in plain]
    if not isinstance(plain, dict):
        return plain
    wide = {key: _widened(value) for key, value in plain.items() if key not in _PEDIGREES_OWN}
    if isinstance(wide.get("properties"), dict):
        wide.pop("required", None)
        wide["properties"] = {name: _removable(field) for name, field in wide["properties"].items()}
    if wide.get("type") in ("integer", "number"):
        wide.update(type=[wide["type"], "string"], pattern=UNDERSCORES)
    if isinstance(wide.get("additionalProperties"), dict):  # a mapping whose keys are names that the user chooses
        wide["additionalProperties"] = _removable(wide["additionalProperties"])
    if "patternProperties" in wide:
        wide["patternProperties"] = {names: _removable(field) for names, field in wide["patternProperties"].items()}
        wide["additionalProperties"] = False
    return wide


def _removable(field: dict[str, Any]) -> dict[str, Any]:
    """The field; if it is a mapping, also null, which removes the other file's mapping."""
    if not any({"$ref", "anyOf", "additionalProperties"} & option.keys() for option in field.get("anyOf", [field])):
        return field
    apart = {key: value for key, value in field.items() if key not in ("description", "default")}
    told = {"description": field["description"]} if "description" in field else {}
    return {**told, "anyOf": [apart, {"type": "null"}]}
