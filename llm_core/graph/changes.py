"""The differences between two recipes, one line per definition, field and file."""

from collections.abc import Mapping
from typing import Any


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
