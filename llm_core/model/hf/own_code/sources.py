"""The project's modules as files of an exported folder.

From such a folder, ``transformers`` takes a file of code and the files beside it that it imports. So each module
becomes a file (``llm_core.model.block`` → ``pedigree_model_block.py``), whose imports of the project are relative.
Nothing else in it changes.
"""

import ast
import hashlib
import json
import re
from collections.abc import Iterable, Iterator

from llm_core.experiment.base import Spec
from llm_core.experiment.component import Component
from llm_core.experiment.model import ModelSpec
from llm_core.runtime_only import runtime_only
from llm_core.store.home import PROJECT

_HERE = "llm_core.model.hf.own_code."
_COMPONENTS = f"{_HERE}components_pedigree"
_ROOTS = tuple(f"{_HERE}{name}_pedigree" for name in ("configuration", "modeling"))
_CONFIGURATION = "configuration_pedigree.py"
_IMPORT = re.compile(r"^(\s*)from (llm_core\.[\w.]+) import ", re.MULTILINE)
_WHOLE = re.compile(r"^import (llm_core\.[\w.]+)", re.MULTILINE)
_OPERATOR = '"pedigree::'
_TARGET = re.compile(r'"(llm_core\.[\w.]+):')


def foreign_components(spec: ModelSpec) -> list[str]:
    """The modules of ``spec``'s components that are not part of the project, but of plug-ins."""
    return [module for module in _modules_of(spec) if not module.startswith("llm_core.")]


def code_files(spec: ModelSpec) -> dict[str, str]:
    """File name → content, of all code that a model of ``spec``, without ``foreign_components``, needs."""
    sources = _reached([*_ROOTS, *_modules_of(spec)])
    sources[_COMPONENTS] = _importing(sorted(sources.keys() - {*_ROOTS, _COMPONENTS}))
    files = {f"{_flat(module)}.py": _relative(source) for module, source in sources.items()}
    assert len(files) == len(sources), "two modules have the same file name"
    digest = hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()
    # In one process, transformers takes the models of all equal configuration files to have the same code.
    files[_CONFIGURATION] += f"\n# Code of the model: {digest}\n"
    # torch's operators are known by name in a process, and another folder may have other code of the same name.
    return {name: source.replace(_OPERATOR, f'"pedigree_{digest[:16]}::') for name, source in files.items()}


def _modules_of(spec: ModelSpec) -> list[str]:
    """The modules of all components in all layers."""
    return sorted({type(component).__module__ for component in _components((spec, *spec.layers))})


def _components(parts: Iterable[object]) -> Iterator[Component]:
    for part in parts:
        if isinstance(part, Component):
            yield part
        if isinstance(part, Spec):
            yield from _components(getattr(part, name) for name in type(part).model_fields)


def _reached(modules: Iterable[str]) -> dict[str, str]:
    """Module → source, of all modules that ``modules`` import, in functions too, or load by a literal target."""
    sources: dict[str, str] = {}
    waiting = list(modules)
    while waiting:
        module = waiting.pop()
        if module not in sources:
            sources[module] = _source(module)
            waiting += _followed(sources[module])
    return sources


@runtime_only("the stage reaches the same code by building the model, and its copies are volatile")
def _source(module: str) -> str:
    return (PROJECT / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8")


def _followed(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            names = [node.module]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "load_object":
            literals = [argument.value for argument in node.args[:1] if isinstance(argument, ast.Constant)]
            names = [str(literal).partition(":")[0] for literal in literals]
        else:
            continue
        yield from (name for name in names if name.startswith("llm_core."))


def _importing(modules: list[str]) -> str:
    """The source of a module that imports all ``modules``. Some of them are only loaded by their names."""
    docstring = (
        '"""All modules of this model. Some are loaded by name; imported here, transformers finds their files."""'
    )
    return "\n".join([docstring, "", *(f"import {module}" for module in modules)]) + "\n"


def _relative(source: str) -> str:
    source = _IMPORT.sub(lambda found: f"{found[1]}from .{_flat(found[2])} import ", source)
    source = _WHOLE.sub(lambda found: f"from .{_flat(found[1])} import __name__ as _", source)
    return _TARGET.sub(lambda found: f'".{_flat(found[1])}:', source)


def _flat(module: str) -> str:
    """The name of a module in the folder."""
    if module.startswith(_HERE):
        return module.removeprefix(_HERE)
    return module.replace("llm_core.", "pedigree_").replace(".", "_")
