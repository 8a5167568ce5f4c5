"""Dagster definitions per experiment, and the ``pedigree`` command."""

from importlib.util import find_spec
from pathlib import Path

from llm_core.errors import PedigreeError

_assets = find_spec("assets")
_places = [] if _assets is None else list(_assets.submodule_search_locations or [str(_assets.origin)])
if not _places or Path(_places[0]).parent != Path(__file__).parents[1]:
    raise PedigreeError(
        f"{''.join(_places[:1])}: another package named assets hides Pedigree's own, in "
        f"{Path(__file__).parents[1]}: rename that folder, or run from another folder and remove it from PYTHONPATH"
    )
