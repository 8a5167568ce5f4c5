"""Where everything that Pedigree makes lies on this machine."""

import os
from pathlib import Path

from llm_core.runtime_only import runtime_only

PROJECT = Path(__file__).resolve().parents[2]
"""The folder that holds the packages: the checkout, when Pedigree runs from one."""


@runtime_only("a place on this machine")
def pedigree_home() -> Path:
    """``PEDIGREE_HOME``; else the ``.pedigree`` of the current folder, if it has one (a project of one's own has); else
    that of the checkout; else, where there is none, that of the current folder."""
    configured = os.environ.get("PEDIGREE_HOME")
    if configured:
        return Path(configured).expanduser().resolve()
    here = Path.cwd() / ".pedigree"
    return here if here.is_dir() or not (PROJECT / "pyproject.toml").is_file() else PROJECT / ".pedigree"
