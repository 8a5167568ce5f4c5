"""Dagster definitions per experiment, and the ``pedigree`` command."""

from importlib.util import find_spec
from pathlib import Path

from llm_core.errors import PedigreeError

_assets = find_spec("assets")
_folder = Path(next(iter(_assets.submodule_search_locations or [""]))) if _assets is not None else Path()
if _folder.parent != Path(__file__).parents[1]:
    raise PedigreeError(
        f"{_folder}: another package named assets hides Pedigree's, which lies beside {Path(__file__).parent}: rename "
        "that folder, or run from another one and take it out of PYTHONPATH"
    )
