"""``docs/settings.md``: every setting with its type, unit, default, meaning, and whether it is part of identities."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from llm_core.registries import LINE_RULES, PACKINGS, RULES
from llm_core.registry import Registry
from pipelines.reference.docstrings import class_doc
from pipelines.reference.models import ROOT, schema

OUTSIDE = ("extends", "plugins", "name", "description", "owners", "tags", "checks", "reports", "compute", "tracking")
"""Keys of an experiment that are no settings of a result. Only pages of reports show some of them."""

UNITS = {
    "bytes": "bytes",
    "characters": "characters",
    "words": "words",
    "tokens": "tokens",
    "documents": "documents",
    "steps": "steps",
    "epochs": "epochs",
    "seconds": "seconds",
    "hours": "hours",
    "hour": "US dollars",
    "dollars": "US dollars",
    "gb": "10⁹ bytes",
    "bf16": "10¹² FLOPs per second",
    "fp32": "10¹² FLOPs per second",
    "length": "tokens",
}
"""Last word of a number's name → its unit."""

NAMES = (RULES, LINE_RULES, PACKINGS)
"""Registries of components that have no settings of their own, except bounds."""

HEAD = """\
# All settings

`python -m pipelines.reference` writes this page from the code. [Experiments](experiments.md) explains the file.
`pedigree schema schema.json` writes a JSON schema: with it, editors complete keys, show their meaning and mark errors.

*In identity* says what a change does:

- **yes**: the stages that depend on it run again.
- **no**: nothing runs again.
- **unless** a value: as yes, but this value is the same as no setting at all. (There are artifacts from before the
  setting existed.)

Three settings with **no** are shown on the reports: `name`, `reports` and `compute.price_per_gpu_hour`. A change of
them writes these pages again, and trains nothing.
"""

LONGEST_DEFAULT = 60
"""Characters of a default that are shown."""

COLUMNS = "| setting | meaning | type | default | in identity |\n|---|---|---|---|---|"

Schema = Mapping[str, Any]


class _Page:
    def __init__(self, definitions: Mapping[str, Schema]) -> None:
        self.definitions = definitions
        self.headings: dict[str, tuple[str, bool]] = {ROOT: ("The file", True)}
        """Definition → (its heading, whether it may be part of identities), in the order of the page."""
        self.components: dict[str, tuple[list[str], bool]] = {}
        """Sort of component → (the definitions of its kinds, whether it may be part of identities)."""
        self._place(ROOT, "", True)
        placed: set[str] = set()
        while waiting := [what for what in self.components if what not in placed]:
            what, (kinds, counts) = waiting[0], self.components[waiting[0]]
            for name in kinds:
                self.headings[name] = (f"{what} `{_kind(definitions[name])}`", counts)
                self._place(name, f"{_kind(definitions[name])}.", counts)
            placed.add(what)

    def _place(self, name: str, path: str, counts: bool) -> None:
        for field, plain in self.definitions[name]["properties"].items():
            inside = counts and _is_inside(name, field)
            for part in _parts(plain):
                if "component" in part:
                    self.components.setdefault(part["component"], (_references(part), inside))
                    continue
                (inner,) = _references(part)
                if inner not in self.headings:
                    kind = _kind(self.definitions[inner])
                    heading = f"`{path}{field}`" + (f", kind `{kind}`" if kind and "oneOf" in str(plain) else "")
                    self.headings[inner] = (heading, inside)
                    self._place(inner, f"{path}{field}.", inside)

    def lines(self) -> Iterator[str]:
        yield HEAD
        for name, (heading, counts) in self.headings.items():
            definition = self.definitions[name]
            yield f"{'###' if '.' in heading else '##'} {heading}\n\n{_text(definition['description'])}\n"
            rows = [
                self._row(field, plain, field in definition.get("required", ()), counts and _is_inside(name, field))
                for field, plain in definition["properties"].items()
                if "const" not in plain
            ]
            if rows:
                yield "\n".join([COLUMNS, *rows, ""])
        for registry in NAMES:
            yield f"## {registry.what.capitalize()}s\n\n| name | what it is |\n|---|---|"
            yield from (f"| `{name}` | {_cell(_text(_first_line(registry, name)))} |" for name in sorted(registry))
            yield ""

    def _row(self, field: str, plain: Schema, required: bool, counts: bool) -> str:
        default = "required" if required else _default(plain)
        identity = "yes" if counts and not plain.get("outside_identity") else "no"
        if identity == "yes" and "absent" in plain:
            absent = plain["absent"]
            identity = "unless as before" if isinstance(absent, dict) else f"unless `{json.dumps(absent)}`"
        meaning = plain.get("description") or self._meaning(plain)
        kind = self._type(plain)
        unit = UNITS.get(field.split("_")[-1]) if "number" in kind else None
        cells = [f"`{field}`", _text(meaning), f"{kind}, {unit}" if unit else kind, default, identity]
        return f"| {' | '.join(map(_cell, cells))} |"

    def _meaning(self, plain: Schema) -> str:
        """The meaning of a field that is a section: the first sentence of its docstring."""
        (name, *_) = [name for part in _parts(plain) for name in _references(part)]
        return re.split(r"(?<=[.])\s", self.definitions[name]["description"], maxsplit=1)[0]

    def _type(self, plain: Schema) -> str:
        if "$ref" in plain:
            name = _name(plain)
            return "any value" if name not in self.headings else _link(self.headings[name][0])
        if "component" in plain:
            first, *_ = _references(plain)
            return _link(self.headings[first][0], plain["component"])
        options = plain.get("anyOf") or plain.get("oneOf")
        if options:
            return " or ".join(self._type(option) for option in options)
        if "enum" in plain:
            names = [f"`{value}`" for value in plain["enum"] if value is not False]  # `off`, as YAML 1.1 reads it
            return ", ".join(names)
        if "const" in plain:
            return f"`{plain['const']}`"
        if plain.get("type") == "array":
            items = plain.get("prefixItems", ())
            return f"list of {len(items)}: {self._type(items[0])}" if items else f"list of {self._type(plain['items'])}"
        if plain.get("type") == "object":
            values = plain.get("additionalProperties") or next(iter(plain.get("patternProperties", {}).values()), None)
            if isinstance(values, dict) and "properties" not in values:
                return f"name → {self._type(values)}"
            return "mapping"
        return _number(plain) or {"string": "text", "boolean": "true or false", "null": "null"}[plain["type"]]


def page() -> str:
    """The page as Markdown."""
    return "\n".join(_Page(schema()).lines()).rstrip() + "\n"


def _is_inside(name: str, field: str) -> bool:
    return not (name == ROOT and field in OUTSIDE)


def _parts(plain: Schema) -> Iterator[Schema]:
    """References and components in the schema of a field."""
    if "$ref" in plain or "component" in plain:
        yield plain
        return
    nested = [plain.get("items"), plain.get("additionalProperties"), *plain.get("patternProperties", {}).values()]
    for inner in [*plain.get("anyOf", ()), *plain.get("oneOf", ()), *nested]:
        if isinstance(inner, dict) and inner.get("$ref") != "#/$defs/JsonValue":
            yield from _parts(inner)


def _references(plain: Any) -> list[str]:
    """The names of all definitions in a schema."""
    if isinstance(plain, dict):
        own = [_name(plain)] if "$ref" in plain else []
        return [*own, *(name for inner in plain.values() for name in _references(inner))]
    return [name for inner in plain for name in _references(inner)] if isinstance(plain, list) else []


def _name(reference: Schema) -> str:
    return str(reference["$ref"]).rpartition("/")[2]


def _kind(definition: Schema) -> str | None:
    return definition.get("properties", {}).get("kind", {}).get("const")


def _link(heading: str, text: str | None = None) -> str:
    anchor = re.sub(r"\s+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower())
    return f"[{text or heading}](#{anchor})"


def _number(plain: Schema) -> str | None:
    name = {"integer": "whole number", "number": "number"}.get(plain.get("type", ""))
    if name is None:
        return None
    bounds = [("minimum", "from"), ("exclusiveMinimum", "above"), ("maximum", "to"), ("exclusiveMaximum", "below")]
    told = [f"{word} {plain[bound]:g}" for bound, word in bounds if bound in plain and plain[bound] < 1 << 60]
    return " ".join([name, *told])


def _default(plain: Schema) -> str:
    if "default" not in plain or isinstance(plain["default"], dict):
        return ""
    text = json.dumps(plain["default"], ensure_ascii=False)
    return f"`{text if len(text) <= LONGEST_DEFAULT else f'{text[:LONGEST_DEFAULT]}…'}`"


def _first_line(registry: Registry, name: str) -> str:
    return class_doc(registry.load(name)).split("\n\n")[0]


def _text(text: str) -> str:
    """Docstrings as Markdown: one backtick for two, and YAML's word for None."""
    return re.sub(r"\bNone\b", "null", text.replace("``", "`"))


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
