"""Computes a stage's identity: from its code, configuration, external sources and inputs."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from xxhash import xxh3_128_hexdigest

from llm_core.experiment.base import Spec, canonical
from llm_core.graph.code_claim import CodeClaim, claim
from llm_core.graph.code_digest import CodeReader, digest_of
from llm_core.graph.part import PartTask
from llm_core.graph.stage import Stage
from llm_core.registry import load_object


@dataclass(frozen=True)
class Recipe:
    """A stage's identity without its inputs: code, configuration, and digests of sources outside the store."""

    kind: str
    code: dict[str, str]
    config: dict[str, Any]
    source_digests: dict[str, str]

    @property
    def code_digest(self) -> str:
        """One digest over all code."""
        return digest_of(self.code)

    def identity(self, contents: Mapping[str, str]) -> str:
        """The identity with these inputs (role → content digest): 32 hexadecimal digits."""
        payload = {
            "kind": self.kind,
            "code": self.code_digest,
            "config": self.config,
            "source_digests": sorted(self.source_digests.items()),
            "inputs": sorted(contents.items()),
        }
        return xxh3_128_hexdigest(json.dumps(payload, separators=(",", ":"), ensure_ascii=False).encode())


def recipe(stage: Stage, reader: CodeReader) -> Recipe:
    """The recipe of ``stage``. Raises ``PedigreeError`` when a source is missing."""
    source_digests = load_object(stage.source_digests)(**stage.config) if stage.source_digests else {}
    return Recipe(stage.kind, code(stage, reader), config(stage), source_digests)


def config(stage: Stage) -> dict[str, Any]:
    """The slice of the experiment in canonical form."""
    return {name: canonical(value) for name, value in sorted(stage.config.items())}


def code(stage: Stage, reader: CodeReader) -> dict[str, str]:
    """``module:definition`` → digest of all code that the stage's result depends on."""
    return reader.digests(_targets(stage), _named(stage.config))


def stage_claim(stage: Stage, reader: CodeReader) -> CodeClaim:
    """The claim of the code that builds the stage."""
    return claim(reader, _targets(stage), _named(stage.config))


PART_BUILD = "llm_core.graph.part_build:PartBuild"
"""The code that calls the function of a part and records its result."""


def part_claim(task: PartTask, reader: CodeReader) -> CodeClaim:
    """The claim of the code that builds the part."""
    return claim(reader, [task.target, PART_BUILD], _named(task.config))


def _targets(stage: Stage) -> tuple[str, ...]:
    return (stage.build, *stage.code, *([stage.source_digests] if stage.source_digests else []))


def _named(config: Mapping[str, Any]) -> frozenset[str]:
    """The strings of a configuration, which include the registry entries that it names."""
    return frozenset(_texts(list(config.values())))


def _texts(value: Any) -> set[str]:
    if isinstance(value, str):
        return {value}
    if isinstance(value, Spec):
        # Only values name entries, not the names of fields.
        derived = [name for name, member in vars(type(value)).items() if isinstance(member, property)]
        return set().union(*(_texts(getattr(value, name)) for name in (*type(value).model_fields, *derived)))
    if isinstance(value, Mapping):
        return set(value).union(*map(_texts, value.values()))
    if isinstance(value, list | tuple):
        return set().union(*map(_texts, value))
    return set()
