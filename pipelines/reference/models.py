"""The exact JSON schema of an experiment, with every kind of component."""

from collections.abc import Callable
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue, models_json_schema
from pydantic_core import core_schema

from llm_core.experiment import callbacks, reports
from llm_core.experiment.base import Name
from llm_core.experiment.cleaning import CleaningSpec
from llm_core.experiment.component import Component, KindOf
from llm_core.experiment.experiment import Experiment
from llm_core.experiment.layers import LayerSpec
from llm_core.experiment.model import CHANGEABLE, ModelSpec
from llm_core.experiment.model_presets import MODELS
from llm_core.experiment.presets import PRESETS
from llm_core.experiment.runtime import ComputeSpec
from llm_core.experiment.study import StudySpec
from llm_core.experiment.training import TrainingSpec
from llm_core.registries import CALLBACKS, POSITIONS, SECTIONS
from llm_core.registry import Registry
from pipelines.reference.docstrings import class_doc, field_docs

WRITTEN_OUT: dict[type[BaseModel], dict[str, Any]] = {
    Experiment: {
        "extends": {
            "type": "string",
            "description": "The experiment that this one extends: a file in the same folder, or one of Pedigree's.",
        }
    },
    ModelSpec: {
        "preset": {
            "enum": sorted(MODELS),
            "description": "A model by name (``pedigree model NAME`` shows it); other fields override its fields.",
        }
    },
    CleaningSpec: {
        "preset": {
            "enum": sorted(PRESETS),
            "description": "A published set of rules; other settings override its own, rules those of the same name.",
        }
    },
}
"""Keys of the YAML file that are not fields: loading replaces them by other keys."""

CHOICES: dict[Any, Registry] = {callbacks.chosen: CALLBACKS, reports.chosen: SECTIONS}
"""Validator of a field that maps kinds to settings → the registry of the kinds."""

ROOT = Experiment.__name__


def schema() -> dict[str, Any]:
    """Definitions by class name, including ``Experiment`` and components of loaded plug-ins."""
    roots = (Experiment, LayerSpec)
    _, found = models_json_schema([(root, "validation") for root in roots], schema_generator=_Described)
    definitions: dict[str, Any] = found["$defs"]
    definitions[ROOT]["required"].remove("name")  # its default is the name of the file
    _open_mappings(definitions)
    return definitions


class _Described(GenerateJsonSchema):
    """pydantic's generator, with docstrings of fields, names of registries, and keys that are not fields."""

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        made = super().model_schema(schema)
        cls, docs = schema["cls"], field_docs(schema["cls"])
        made["description"] = class_doc(cls)
        for name, field in made.get("properties", {}).items():
            field.pop("title", None)
            if name in docs:
                field["description"] = docs[name]
        made["properties"] = {**WRITTEN_OUT.get(cls, {}), **made.get("properties", {})}
        return made

    def function_plain_schema(self, schema: core_schema.PlainValidatorFunctionSchema) -> JsonSchemaValue:
        made: Any = schema["function"]["function"]
        if made in CHOICES:
            registry = CHOICES[made]
            classes = {kind: registry.load(kind) for kind in sorted(registry)}
            kinds = {kind: self._kind(cls) for kind, cls in classes.items() if not cls.switch}
            return {"component": registry.what, "anyOf": [_mapping(kinds)]}
        field: KindOf = made.func.__self__  # no other field has a validator of that sort
        names = sorted(field.registry)
        return {
            "component": field.registry.what,
            "anyOf": [{"enum": names}, *map(self._kind, map(field.registry.load, names))],
        }

    def _kind(self, cls: type[Component]) -> JsonSchemaValue:
        # With a reference, a class is one definition, even if several fields use it.
        reference = {"ref": f"{cls.__module__}.{cls.__name__}:0"}
        return self.generate_inner({**cls.__pydantic_core_schema__, **reference})

    def function_after_schema(self, schema: core_schema.AfterValidatorFunctionSchema) -> JsonSchemaValue:
        check: Callable[..., Any] = schema["function"]["function"]
        if isinstance(check, Name):
            return {"type": "string", "enum": [name for registry in check.registries for name in sorted(registry)]}
        return super().function_after_schema(schema)


def _open_mappings(definitions: dict[str, Any]) -> None:
    """Describe the mappings that are read field by field only after merging."""

    def fields(cls: type[BaseModel]) -> dict[str, Any]:
        return dict(definitions[cls.__name__]["properties"])

    layer = {name: field for name, field in fields(LayerSpec).items() if name in CHANGEABLE}
    times = {"type": "integer", "minimum": 1, "description": "The number of such layers."}
    definitions[ModelSpec.__name__]["properties"]["pattern"]["items"] = _mapping({**layer, "times": times})
    study = definitions[StudySpec.__name__]["properties"]
    sections = {"training": _mapping(fields(TrainingSpec)), "compute": _mapping(fields(ComputeSpec))}
    for name, overrides in sections.items():
        study[name] |= overrides
    study["ideas"]["additionalProperties"] = _mapping({**fields(ModelSpec), "training": sections["training"]})
    position = {name: field for kind in POSITIONS for name, field in fields(POSITIONS.load(kind)).items()}
    longer = definitions["LongContextSpec"]["properties"]["position"]
    longer["anyOf"] = [_mapping({**position, "kind": {"enum": sorted(POSITIONS)}}), {"type": "null"}]


def _mapping(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, "properties": properties}
