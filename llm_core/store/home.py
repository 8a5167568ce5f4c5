"""The folder of everything that Pedigree writes on this machine."""

import os
from pathlib import Path

from llm_core.runtime_only import runtime_only

PROJECT = Path(__file__).resolve().parents[2]
"""The folder that contains the packages: the checkout, when Pedigree runs from one."""


@runtime_only("a place on this machine")
def pedigree_home() -> Path:
    """``PEDIGREE_HOME``. Without it, ``.pedigree`` in the current folder if it exists there (a user's own project);
    otherwise the one in the checkout; without a checkout, the one in the current folder."""
    configured = os.environ.get("PEDIGREE_HOME")
    if configured:
        return Path(configured).expanduser().resolve()
    here = Path.cwd() / ".pedigree"
    return here if here.is_dir() or not (PROJECT / "pyproject.toml").is_file() else PROJECT / ".pedigree"
