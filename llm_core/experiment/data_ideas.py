"""Ideas of a study that change the data: sections of the experiment under the key ``data``."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from llm_core.experiment.base import Spec, from_plain, told
from llm_core.experiment.cleaning import CleaningSpec
from llm_core.experiment.component import over
from llm_core.experiment.dedup import DedupSpec
from llm_core.experiment.quality import QualitySpec
from llm_core.experiment.tokens import TokenizerSpec

SECTIONS: dict[str, type[Spec]] = {
    "cleaning": CleaningSpec,
    "quality": QualitySpec,
    "dedup": DedupSpec,
    "tokenizer": TokenizerSpec,
}
"""What an idea may change."""

REFUSED = {
    "raw": "all sides start from the same documents; for other shares of the sources, use training.mixture or "
    "study.mixtures",
    "split": "all sides are judged on the launched held-out text",
    "decontamination": "no side may train on text of the suites",
    "shards": "how ids are stored changes no loss",
}


def data_sections(idea: str, changes: Any, launched: Mapping[str, Spec | None]) -> dict[str, Spec | None]:
    """The changed sections. ``changes``: section → overrides; ``launched``: section → as launched.

    ``ValueError`` for a section that can't change, a value that does not fit, and an idea without effect.
    """
    where = f"study.ideas.{idea}: data"
    if not isinstance(changes, Mapping):
        raise ValueError(f"{where}: give sections, such as {{cleaning: {{…}}}} (it is {changes!r})")
    found: dict[str, Spec | None] = {}
    for name, own in changes.items():
        if name not in SECTIONS:
            why = REFUSED.get(name, "there is no such section")
            raise ValueError(f"{where}.{name}: {why}; an idea changes {', '.join(SECTIONS)}")
        if own is None and name == "quality":
            found[name] = None
            continue
        if not isinstance(own, Mapping):
            raise ValueError(f"{where}.{name}: give fields of the section {name} (it is {own!r})")
        usual = launched[name]
        below = {} if usual is None or "preset" in own else usual.model_dump(mode="json", exclude_unset=True)
        try:
            found[name] = from_plain(SECTIONS[name], over(below, own))
        except ValidationError as error:
            raise ValueError(f"{where}.{name}: {told(error)}") from None
    if all(section == launched[name] for name, section in found.items()):
        raise ValueError(f"{where}: it changes nothing")
    return found
