"""Where everything that Pedigree makes lies on this machine."""

import os
from pathlib import Path

from llm_core.runtime_only import runtime_only

PROJECT = Path(__file__).resolve().parents[2]
"""The folder that holds the packages: the checkout, when Pedigree runs from one."""


@runtime_only("a place on this machine")
def pedigree_home() -> Path:
    """``PEDIGREE_HOME``, or ``.pedigree`` in the checkout (in the current folder when there is no checkout)."""
    configured = os.environ.get("PEDIGREE_HOME")
    if configured:
        return Path(configured).expanduser().resolve()
    base = PROJECT if (PROJECT / "pyproject.toml").is_file() else Path.cwd()
    return base / ".pedigree"
