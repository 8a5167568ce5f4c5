"""Components from outside the project. A plug-in is a module whose tables add entries to the registries.

    RULES = {"no_adverts": "my_model.adverts:no_adverts"}

A table has the name of the registry in ``llm_core.registries`` that it adds to. It must be a literal, because the
code digest reads it too. An experiment names its plug-ins (``plugins: [my_model.components]``), which are installed
packages or are in the folder of its file. Or an installed package declares them as entry points of the group
``pedigree.plugins``.
"""

import ast
import os
import sys
from collections.abc import Collection, Iterable
from functools import cache
from importlib import import_module
from importlib.machinery import ModuleSpec
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

from llm_core import registries
from llm_core.errors import PedigreeError
from llm_core.loaded_code import PACKAGES, top, watch
from llm_core.reasons import place_of
from llm_core.registry import Registry
from llm_core.runtime_only import runtime_only

GROUP = "pedigree.plugins"
"""Entry points of this group are plug-ins of every experiment: any name, and the module."""

_LOADED: dict[str, dict[str, dict[str, str]]] = {}
"""Plug-in → registry → name → target."""


@runtime_only("finds components by their names, and the digest follows the same names")
def load_plugins(modules: Iterable[str]) -> tuple[str, ...]:
    """Add the tables of ``modules`` to the registries, once per process, and return ``modules``.

    Raises ``PedigreeError`` for a module that is missing, fails to import or has no table, and for a name that is
    already in use.
    """
    named = tuple(modules)
    for module in named:
        if module not in _LOADED:
            _load(module)
    return named


def look_beside(folder: Path, modules: Iterable[str]) -> None:
    """Make ``modules`` that are nowhere else importable from ``folder``, in this process and those that it starts."""
    packages = {top(module) for module in modules if _is_name(module)}
    if any(find_spec(package) is None and _is_in(folder, package) for package in packages):
        sys.path.append(str(folder))
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), str(folder)]))


def _is_in(folder: Path, package: str) -> bool:
    return (folder / package).is_dir() or (folder / f"{package}.py").is_file()


@cache
def load_installed() -> None:
    """Add the tables of the plug-ins of installed packages, as ``load_plugins`` does."""
    for point in entry_points(group=GROUP):
        try:
            load_plugins([point.value])
        except PedigreeError as error:
            package = point.dist.name if point.dist else point.name
            raise PedigreeError(f"{error} (installed with {package}: fix it, or uninstall it)") from None


def plugins_of(code: Collection[str]) -> tuple[str, ...]:
    """The plug-ins that ``code`` needs, which is given as the code digest names it: by their entries, or their own code
    (the function of a part)."""
    packages = {top(name) for name in code}
    return tuple(
        plugin
        for plugin, added in sorted(_LOADED.items())
        if packages & package_folders([plugin]).keys()
        or any(f"{registries.__name__}:{table}[{name}]" in code for table, names in added.items() for name in names)
    )


def loaded_plugins() -> tuple[str, ...]:
    """The plug-ins of this process."""
    return tuple(sorted(_LOADED))


def package_folders(plugins: Collection[str]) -> dict[str, Path]:
    """Package → the folder that contains it, for all packages whose code ``plugins`` add."""
    targets = [target for plugin in plugins for table in _LOADED[plugin].values() for target in table.values()]
    packages = {top(module.partition(":")[0]) for module in [*plugins, *targets]} - set(PACKAGES)
    return {package: folder_of(package) for package in sorted(packages)}


def folder_of(package: str) -> Path:
    """The folder that contains an importable package or top-level module."""
    spec = find_spec(package)
    assert spec is not None, package
    if spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations))).parent
    return Path(str(spec.origin)).parent


def tables(source: bytes) -> dict[str, dict[str, str]]:
    """Registry → name → target, from the literal tables of a module."""
    found = {}
    for statement in ast.parse(source).body:
        if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
            target, value = statement.targets[0], statement.value
        elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
            target, value = statement.target, statement.value
        else:
            continue
        if isinstance(target, ast.Name) and isinstance(value, ast.Dict):
            try:
                table = ast.literal_eval(value)
            except ValueError:
                continue
            if table and all(isinstance(item, str) and ":" in item for item in table.values()):
                found[target.id] = table
    return found


def _load(module: str) -> None:
    _check_name(module)
    package = top(module)
    spec = _spec(module)
    watch(package)
    try:
        imported = import_module(module)
    except Exception as error:
        raise PedigreeError(f"plug-in {module}: raises when it is imported, {place_of(error)}: {error!r}") from None
    path = Path(str(spec.origin))
    found = tables(path.read_bytes())
    known = {name: value for name, value in vars(registries).items() if isinstance(value, Registry)}
    tables_there = {name for name in known if not isinstance(getattr(imported, name, known[name]), Registry)}
    if unread := sorted(tables_there - set(found)):
        raise PedigreeError(
            f"{path}: {unread[0]} can't be read: write the table out, as {{name: 'module:object'}} of plain strings, "
            "because the code digest reads it without running it"
        )
    if not found:
        raise PedigreeError(
            f"{path}: plug-in {module} adds nothing; write a table in it, such as "
            f'RULES = {{"no_adverts": "{package}.adverts:no_adverts"}}'
        )
    if unknown := sorted(set(found) - set(known)):
        raise PedigreeError(f"{path}: there is no registry {unknown[0]}; known: {', '.join(sorted(known))}")
    for registry, table in found.items():
        for name, target in table.items():
            if not isinstance(name, str):
                raise PedigreeError(f"{path}: {registry}[{name!r}]: a name must be text; put it in quotation marks")
            if name in known[registry] and known[registry][name] != target:
                raise PedigreeError(
                    f"{path}: {registry}[{name!r}] is taken: a {known[registry].what} of that name is "
                    f"{known[registry][name]}; choose another name"
                )
            _check_target(target, f"{path}: {registry}[{name!r}]: ", package)
    for registry, table in found.items():
        known[registry].add(table, module)
    _LOADED[module] = found


def _check_name(module: str) -> None:
    """Raise ``PedigreeError`` when ``module`` is no name of a module, such as the path of its file."""
    if _is_name(module) and not module.endswith(".py"):
        return
    name = ".".join(part for part in module.removesuffix(".py").split("/") if part not in (".", ".."))
    written = name if _is_name(name) else "its name as in an import, such as my_model.components"
    raise PedigreeError(f"plug-in {module}: this is no name of a module; write the module: {written}")


def _is_name(module: str) -> bool:
    return all(part.isidentifier() for part in module.split("."))


def _spec(module: str, where: str = "plug-in ") -> ModuleSpec:
    """The import spec of ``module``. Raises ``PedigreeError`` when it can't be imported."""
    try:
        spec = find_spec(module)
    except ModuleNotFoundError:
        spec = None
    except Exception as error:  # from a parent package
        raise PedigreeError(f"{where}{module}: raises when it is imported, {place_of(error)}: {error!r}") from None
    if spec is None or spec.origin is None:
        raise PedigreeError(
            f"{where}{module}: there is no such module: put its package into the experiment's folder, install it in "
            "this environment (`pip install -e FOLDER`), or the module's name is misspelt: correct it"
        )
    return spec


def _check_target(target: str, where: str, package: str) -> None:
    """Raise ``PedigreeError`` when the object of an entry is missing, or one that its module loads by a literal name
    (``load_object``) from the same package. Runs neither module: a mixer's would import torch."""
    tree = _check_defined(target, where)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "load_object":
            address = node.args[0].value if node.args and isinstance(node.args[0], ast.Constant) else None
            if isinstance(address, str) and top(address) == package:
                _check_defined(address, f"{_spec(target.partition(':')[0]).origin}, line {node.lineno}: ")


def _check_defined(target: str, where: str) -> ast.Module:
    module, _, name = target.partition(":")
    path = Path(str(_spec(module, where).origin))
    if path.suffix != ".py":
        return ast.Module([], [])
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError) as error:
        raise PedigreeError(f"{where}{path}, line {getattr(error, 'lineno', '?')}: {error}") from None
    bound = _bound_names(tree)
    if name not in bound and "*" not in bound:
        raise PedigreeError(f"{where}{path} defines no {name}; correct the name, or define it there")
    return tree


def _bound_names(tree: ast.Module) -> set[str]:
    """The names that a module may bind, ``*`` among them for a star import."""
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {alias.asname or alias.name.partition(".")[0] for alias in node.names}
    return names
