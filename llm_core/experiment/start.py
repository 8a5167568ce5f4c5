"""The section ``start``: the model whose weights the first run of an experiment starts from."""

import re
from typing import Annotated, Any

from pydantic import Field, model_validator

from llm_core.experiment.base import Spec, canonical, outside_identity
from llm_core.experiment.model import ModelSpec
from llm_core.experiment.paths import YamlPath

KINDS = ("artifact", "folder", "hugging_face")

_COMMIT = re.compile(r"[0-9a-f]{40}")

_FREE = re.compile(r"pattern|mixer|feed_forward|dropout|document_mask|init|layers\.\d+\.(mixer\.)?dropout")
"""Fields that are about training only, and those whose content ``layers`` has."""


class StartSpec(Spec):
    """A finished model. Its identity is the content of its files, wherever they are."""

    artifact: Annotated[str | None, outside_identity(min_length=1)] = None
    """A model of this store: ``experiment/stage`` (the last one made), or the beginning of an identity."""
    folder: Annotated[YamlPath | None, outside_identity()] = None
    """A folder: of ``pedigree export`` or ``pedigree import-model``, or one that ``transformers`` can read."""
    hugging_face: Annotated[str, Field(pattern=r"^[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?$")] | None = None
    """A model on the Hugging Face Hub, ``owner/name``."""
    revision: str | None = None
    """The commit of ``hugging_face``, 40 hexadecimal digits."""

    @model_validator(mode="after")
    def _one(self) -> "StartSpec":
        given = [name for name in KINDS if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"give one of {', '.join(KINDS)} (given: {', '.join(given) or 'none'})")
        if (self.revision is not None) != (self.hugging_face is not None):
            raise ValueError("revision: give the commit of a model on the Hub, and only with hugging_face")
        if self.revision is not None and not _COMMIT.fullmatch(self.revision):
            raise ValueError(
                f"revision: {self.revision!r} is no commit, and may move; give the 40 hexadecimal digits of one"
            )
        return self


def shape_difference(there: ModelSpec, here: ModelSpec) -> tuple[str, Any, Any] | None:
    """The first field in which two models have other weights, or use them in another way, with both values; None if
    the weights of one are those of the other. Dropout, document mask and initial values may differ."""
    return _difference(canonical(there, absent=True), canonical(here, absent=True), "")


def _difference(there: Any, here: Any, place: str) -> tuple[str, Any, Any] | None:
    if _FREE.fullmatch(place) or there == here:
        return None
    if isinstance(there, dict) and isinstance(here, dict):
        if place == "" and there["absolute_position"] is None:  # else it is the scale of constant positions, too
            there, here = ({**fields, "init_std": None} for fields in (there, here))
        # Another kind explains its settings, and another n_layers the layers.
        names = sorted({**there, **here}, key=lambda name: (name != "kind", isinstance(here.get(name), list), name))
        parts = [(name, there.get(name), here.get(name)) for name in names]
    elif isinstance(there, list) and isinstance(here, list) and len(there) == len(here):
        parts = [(str(number), *pair) for number, pair in enumerate(zip(there, here, strict=True))]
    else:
        return place, _shown(there), _shown(here)
    found = (_difference(old, new, f"{place}.{name}" if place else name) for name, old, new in parts)
    return next((difference for difference in found if difference is not None), None)


def _shown(value: Any) -> Any:
    """A component by its kind, a list by its length: the rest would fill the screen."""
    if isinstance(value, dict):
        return value.get("kind", "another")
    return f"{len(value)} entries" if isinstance(value, list) else value
