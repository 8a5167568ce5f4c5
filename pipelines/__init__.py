"""Dagster definitions per experiment, and the ``pedigree`` command."""

from importlib.util import find_spec
from pathlib import Path

from llm_core.errors import PedigreeError

_assets = find_spec("assets")
if _assets is None or Path(str(_assets.origin)).parents[1] != Path(__file__).parents[1]:
    raise PedigreeError(
        f"{_assets and (_assets.origin or list(_assets.submodule_search_locations or ()))}: another package named assets "
        f"hides Pedigree's, which lies beside {Path(__file__).parent}: rename that folder, or run from another one and "
        "take it out of PYTHONPATH"
    )
