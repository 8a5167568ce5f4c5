"""``pedigree init``: a folder of one's own, with an experiment, a component, its test, and what runs them."""

import re
import sys
from importlib.util import find_spec
from pathlib import Path

from llm_core.errors import PedigreeError
from llm_core.store.files import disk_errors

TEMPLATE = Path(__file__).parent / "template"
_PACKAGE, _PROJECT = "my_model", "my-model"
"""The names in the template, which are replaced."""

_RENAMED = {"gitignore": ".gitignore"}
"""A package has no hidden files."""


def make_project(folder: Path) -> list[Path]:
    """Copy the template into ``folder``, whose name becomes that of the project; returns the files.

    Raises ``PedigreeError`` for a name that can't be a package, or is one already, and for a folder that holds files.
    """
    project = folder.resolve().name
    package = project.replace("-", "_")
    if not re.fullmatch(r"[a-z][a-z0-9_]*", package):
        raise PedigreeError(
            f"{project}: the name becomes that of a Python package: use small letters, digits and hyphens, and begin "
            "with a letter"
        )
    if package in sys.stdlib_module_names or find_spec(package) is not None:
        raise PedigreeError(f"{project}: a Python package {package} exists already; choose another name")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise PedigreeError(f"{folder}: is not empty, and nothing was changed; give a new folder")
    made = []
    with disk_errors(folder):
        for source in sorted(path for path in TEMPLATE.rglob("*") if path.is_file() and path.suffix != ".pyc"):
            name = source.relative_to(TEMPLATE).as_posix()
            target = folder / _RENAMED.get(name, name.replace(_PACKAGE, package))
            target.parent.mkdir(parents=True, exist_ok=True)
            text = source.read_text(encoding="utf-8").replace(_PACKAGE, package).replace(_PROJECT, project)
            target.write_text(text, encoding="utf-8")
            made.append(target)
    return made
