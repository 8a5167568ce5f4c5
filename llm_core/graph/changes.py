"""The differences between a stage and an earlier artifact, one line per definition, field, file and input."""

from collections.abc import Mapping
from typing import Any

from llm_core.experiment.base import without_outsiders
from llm_core.graph.identity import Recipe
from llm_core.graph.stage import Stage
from llm_core.store.manifest import Manifest


def differences(stage: Stage, own: Recipe, contents: Mapping[str, str], previous: Manifest | None) -> list[str]:
    """The functions, fields, files and inputs in which a stage differs from ``previous``, one line each."""
    if previous is None:
        return ["never made before"]
    lines = [
        *changed_names("code", previous.code, own.code),
        *changed_fields("", lasting_config(stage, previous), own.config),
        *changed_names("source", previous.source_digests, own.source_digests),
    ]
    before = {record.role: record.content for record in previous.inputs}
    for role, name in stage.inputs.items():
        if role not in before:
            lines.append(f"input {name} is new")
        elif role in contents and before[role] != contents[role]:
            lines.append(f"input {name} has other content")
    lines.extend(f"input {record.stage} is gone" for record in previous.inputs if record.role not in stage.inputs)
    if not lines and previous.config != own.config:
        lines.append("code of the experiment changed: some settings left identities")
    return lines


def lasting_config(stage: Stage, manifest: Manifest) -> dict[str, Any]:
    """The configuration of an artifact, without fields that are no longer part of identities."""
    lasting: dict[str, Any] = without_outsiders(manifest.config, stage.config)
    return lasting


def changed_names(what: str, before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """The changed, new and removed entries of a mapping from names to digests, one line each."""
    lines = [f"{what} {name} changed" for name in now if name in before and now[name] != before[name]]
    added = [f"{what} {name} is new" for name in now if name not in before]
    return lines + added + [f"{what} {name} is gone" for name in before if name not in now]


def changed_fields(path: str, before: Any, now: Any) -> list[str]:
    """The settings below ``path`` that differ, one line each with both values."""
    if isinstance(before, dict) and isinstance(now, dict):
        lines = []
        for key in dict.fromkeys([*before, *now]):
            place = f"{path}.{key}" if path else key
            if key not in now:
                lines.append(f"{place}: {before[key]} → gone")
            elif key not in before:
                lines.append(f"{place}: new, {now[key]}")
            else:
                lines.extend(changed_fields(place, before[key], now[key]))
        if not lines and list(before) != list(now):
            lines.append(f"{path}: the order changed")
        return lines
    if before == now:
        return []
    if _are_entries(before) and _are_entries(now):
        return _entries(path, before, now)
    return [f"{path}: {before} → {now}"]


def _are_entries(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(entry, dict) for entry in value)


def _entries(path: str, before: list[Any], now: list[Any]) -> list[str]:
    """The first entry that differs, and how many do. A full list of a model's layers would hide all other changes."""
    if len(before) != len(now):
        return [f"{path}: {len(before)} entries → {len(now)}"]
    others = [number for number, pair in enumerate(zip(before, now, strict=True)) if pair[0] != pair[1]]
    lines = changed_fields(f"{path}[{others[0]}]", before[others[0]], now[others[0]])
    return [*lines, f"{path}: {len(others) - 1} more entries changed"] if len(others) > 1 else lines
