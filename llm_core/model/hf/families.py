"""The family of a model. Families are tried in the order of the registry, those of plug-ins last."""

from collections.abc import Iterable

from llm_core.errors import PedigreeError
from llm_core.experiment.model import ModelSpec
from llm_core.model.hf.family import Family, told
from llm_core.model.hf.own_code.family import OWN_CODE
from llm_core.registries import HF_FAMILIES


def family_of(spec: ModelSpec, names: Iterable[str] = HF_FAMILIES) -> Family:
    """The first family that can express ``spec``. Raises ``PedigreeError`` with the reasons of each if none can."""
    for name in names:
        family = family_named(name)
        if not family.reasons_against(spec):
            return family
    raise PedigreeError(f"transformers has no architecture for this model:\n{why_none(spec, names)}")


def chosen_family(spec: ModelSpec, names: Iterable[str] = HF_FAMILIES) -> Family:
    """The first family that can express ``spec``, or else its own code. Raises ``PedigreeError`` for a model with
    components of plug-ins that no family can express."""
    names = tuple(names)
    if why_none(spec, names) and not OWN_CODE.reasons_against(spec):
        return OWN_CODE
    return family_of(spec, names)


def why_none(spec: ModelSpec, names: Iterable[str] = HF_FAMILIES) -> str:
    """A line per family with the reasons why it can't express ``spec``; empty if one can."""
    reasons = {name: family_named(name).reasons_against(spec) for name in names}
    return "\n".join(f"{name}: {told(found)}" for name, found in reasons.items()) if all(reasons.values()) else ""


def family_named(name: object) -> Family:
    """The family of a ``model_type``. Raises ``PedigreeError`` for an unknown one."""
    if name == OWN_CODE.name:
        return OWN_CODE
    if not isinstance(name, str) or name not in HF_FAMILIES:
        raise PedigreeError(f"model_type {name!r} can't be imported; known: {', '.join(HF_FAMILIES)}")
    family: Family = HF_FAMILIES.load(name)
    return family
