"""YAML with ``extends`` → one checked ``Experiment``. Every error names file and field."""

import re
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from llm_core.errors import PedigreeError
from llm_core.experiment.base import from_plain, message, problems
from llm_core.experiment.experiment import Experiment
from llm_core.experiment.model_presets import MODELS
from llm_core.experiment.paths import placed
from llm_core.plugins import load_installed, load_plugins, look_beside


class _Loader(yaml.SafeLoader):
    """Safe YAML in which a repeated key is an error and ``1e-3`` is a number."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key_node, _ in node.value:
            if key_node.value in seen:
                raise yaml.MarkedYAMLError(None, None, f"the key {key_node.value!r} is repeated", key_node.start_mark)
            if isinstance(key_node, yaml.ScalarNode):
                seen.add(key_node.value)
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        self.flatten_mapping(node)
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise yaml.MarkedYAMLError(None, None, f"the key {key!r} is not text", key_node.start_mark)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?[0-9][0-9_]*(\.[0-9_]*)?[eE][-+]?[0-9]+$"),
    list("-+0123456789"),
)


REPLACED = {
    "proxies": (
        "the section study replaces it. Its models follow from model, its budgets from their sizes: study: "
        "{sizes: [{width: 256, seeds: 3, rates: [0.5, 2], ideas: true}], tokens_per_parameter: [10], ideas: {…}, "
        "gate: null}. Learning rates are now rates (multiples of the size's own), and variants are ideas, without a "
        "baseline and without model, seed and compute; docs/experiments.md shows one"
    )
}
"""Sections of earlier versions → what to write instead."""


def load_experiment(
    path: Path,
    library: Path | None = None,
    complete: Callable[[dict[str, Any]], dict[str, Any]] = lambda data: data,
) -> Experiment:
    """Read ``path`` and the file that it extends, from the same folder or else from the folder ``library``.

    Mappings are merged key by key, other values are replaced. ``null`` over a mapping removes it (a rule, a variant).
    A component of another ``kind``, and a model with a ``preset``, replace the inherited one completely.
    ``complete``: fills in sections that follow from others, before they are checked.
    Raises ``PedigreeError`` with file and field for anything that is not a valid experiment.
    """
    data = _merged(path, library, ())
    data.setdefault("name", path.stem)
    try:
        with redirect_stdout(sys.stderr):  # a plug-in that prints must not break the output of a command
            _load_plugins(path, data.get("plugins", []))
            return from_plain(Experiment, complete(data))
    except ValidationError as error:
        lines = [f"{path}: {_place(problem['loc'])}: {message(problem)}" for problem in problems(error)]
        raise PedigreeError("\n".join(lines)) from None


def _load_plugins(path: Path, modules: Any) -> None:
    """Load the plug-ins first, so that their components are known."""
    load_installed()
    if not _are_names(modules):
        raise PedigreeError(f"{path}: plugins: give a list of modules, such as [my_model.components], not {modules!r}")
    try:
        load_plugins([str(module) for module in modules])
    except PedigreeError as error:
        raise PedigreeError(f"{path}: plugins: {error}") from None


def _are_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def _place(location: tuple[str | int, ...]) -> str:
    return ".".join(str(part) for part in location) or "the experiment"


def _merged(path: Path, library: Path | None, chain: tuple[Path, ...]) -> dict[str, Any]:
    path = path.resolve()
    if path in chain:
        raise PedigreeError(f"{path}: 'extends' forms a cycle: {' → '.join(p.name for p in (*chain, path))}")
    data = _read(path)
    if _are_names(data.get("plugins")):
        look_beside(path.parent, [str(name) for name in data["plugins"]])
    base = data.pop("extends", None)
    if base is None:
        return data
    if not isinstance(base, str):
        raise PedigreeError(f"{path}: 'extends' must be the name of one file, not {base!r}")
    file = base if base.endswith((".yaml", ".yml")) else f"{base}.yaml"
    bases = [folder / file for folder in (path.parent, library) if folder is not None and (folder / file).is_file()]
    if not bases:
        names = sorted(found.stem for found in library.glob("*.yaml")) if library else []
        known = f", and none of Pedigree's experiments ({', '.join(names)})" if names else ""
        raise PedigreeError(f"{path}: extends: there is no {path.parent / file}{known}")
    others = [found for found in bases if found.resolve() != path]  # a user's tiny.yaml may extend Pedigree's
    below = _merged((others or bases)[0], library, (*chain, path))
    below.pop("name", None)
    return _merge(below, data)


def _read(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise PedigreeError(f"{path}: there is no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise PedigreeError(f"{path}: can't be read: {error}") from None
    try:
        data = placed(yaml.load(text, Loader=_Loader), path.parent)  # noqa: S506 (a SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise PedigreeError(f"{path}: {where}{error.problem}") from None
    except RecursionError:
        raise PedigreeError(f"{path}: nested too deeply") from None
    except (yaml.YAMLError, ValueError) as error:
        raise PedigreeError(f"{path}: {error}") from None
    if not isinstance(data, dict):
        raise PedigreeError(f"{path}: an experiment is a mapping of sections, not {type(data).__name__}")
    for name in REPLACED.keys() & data.keys():
        raise PedigreeError(f"{path}: {name}: {REPLACED[name]}")
    return data


_NULL_IS_A_VALUE = ("feed_forward",)
"""Fields for which ``null`` is a value. For other fields, ``null`` over a mapping removes it."""


def _stands_alone(key: str, below: dict[str, Any], above: dict[str, Any]) -> bool:
    """Whether ``above`` replaces ``below`` completely: a component of another kind, or a model with a preset."""
    kinds = below.get("kind"), above.get("kind")
    return (key == "model" and "preset" in above) or (None not in kinds and kinds[0] != kinds[1])


def _with_kinds(settings: Any, below: Any) -> Any:
    """``settings`` over ``below``, with the kind of each component, so that another kind can override it later."""
    below = {"kind": below} if isinstance(below, str) else below
    if not isinstance(settings, dict) or not isinstance(below, dict):
        return settings
    if settings.get("kind", below.get("kind")) != below.get("kind"):
        return settings
    kind = {"kind": below["kind"]} if "kind" in below else {}
    return {**kind, **{name: _with_kinds(value, below.get(name)) for name, value in settings.items()}}


def _merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        inherited = merged.get(key)
        if key == "plugins" and isinstance(value, list) and isinstance(inherited, list):
            value = list(dict.fromkeys([*inherited, *value]))  # inherited components need their plug-ins
        if key == "model" and isinstance(inherited, dict):
            inherited = _with_kinds(inherited, MODELS.get(str(inherited.get("preset"))))
        if value is None and isinstance(inherited, dict) and key not in _NULL_IS_A_VALUE:
            del merged[key]
        elif isinstance(value, dict) and isinstance(inherited, dict) and not _stands_alone(key, inherited, value):
            merged[key] = _merge(inherited, value)
        elif isinstance(value, dict) and isinstance(inherited, str) and "kind" not in value:
            merged[key] = {"kind": inherited, **value}
        else:
            merged[key] = value
    return merged
