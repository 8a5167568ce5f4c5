"""A family of architectures: the translation between ``ModelSpec`` and its ``config.json`` and tensors."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError
from torch import Tensor

from llm_core.experiment.base import message
from llm_core.experiment.component import Component
from llm_core.experiment.layers import LayerSpec
from llm_core.experiment.model import ModelSpec
from llm_core.model.hf.config import Config, Part, UnsupportedError, read_fields, setting
from llm_core.model.hf.facts import facts
from llm_core.model.hf.weights import Weight

SHOWN = 3
"""The number of reasons per family in a message."""


Tensors = dict[str, Tensor]
"""Their tensors by name."""


def _nothing(_: ModelSpec) -> list[str]:
    return []


def _same(_: Config, tensors: Tensors) -> Tensors:
    return tensors


@dataclass(frozen=True)
class Family:
    """One ``model_type``.

    ``parts``: the parts of its configuration. ``always``: fields of ``ModelSpec`` that are equal in all its models.
    ``depth``, ``length``: its keys for the number of layers and for the longest sequence (None: no key). ``outer``:
    tensors outside the blocks, ours → theirs. ``block``: tensors of one block, with names relative to the block, which
    is ``blocks``.number in theirs. ``head``: their name of an untied head. ``prefix``: the prefix of tensor names that
    a file without the head omits. ``ignored``: tensors of theirs that are not weights. ``older``: from the tensors of a
    configuration in another form than the one that is written to those of the latter. ``limits``: further reasons
    against a specification.
    """

    name: str
    architecture: str
    parts: tuple[Part, ...]
    always: Mapping[str, Any]
    outer: tuple[Weight, ...]
    block: Callable[[ModelSpec, LayerSpec], list[Weight]]
    depth: str = "num_hidden_layers"
    length: str | None = "max_position_embeddings"
    prefix: str = "model."
    blocks: str = "model.layers"
    head: str = "lm_head.weight"
    ignored: re.Pattern[str] = field(default=re.compile(r"\.rotary_emb\.inv_freq$"))
    older: Callable[[Config, Tensors], Tensors] = _same
    limits: Callable[[ModelSpec], list[str]] = _nothing

    def read(self, config: Config) -> ModelSpec:
        """The specification of ``config``. Raises ``UnsupportedError``."""
        fields = read_fields(self.parts, self.always, config, self.depth)
        try:
            return ModelSpec.model_validate(fields)
        except ValidationError as error:
            problem = error.errors()[0]
            place = ".".join(map(str, problem["loc"]))
            raise UnsupportedError(f"{place}: {message(problem)}" if place else message(problem)) from None

    def write(self, spec: ModelSpec) -> Config:
        """The ``config.json`` for ``spec``. It is complete if ``reasons_against`` finds nothing."""
        config: Config = {}
        for part in self.parts:
            part.write(spec, config)
        return config | {self.depth: spec.n_layers}

    def code(self, spec: ModelSpec) -> dict[str, str]:
        """File name → content of the code that a folder brings along; none if ``transformers`` has the architecture."""
        del spec
        return {}

    def weights(self, spec: ModelSpec) -> Iterator[Weight]:
        """All tensors of a model of ``spec``, by their full names."""
        yield from self.outer
        for layer in spec.layers:
            for weight in self.block(spec, layer):
                theirs = tuple(f"{self.blocks}.{layer.index}.{name}" for name in weight.theirs)
                yield Weight(f"blocks.{layer.index}.{weight.ours}", theirs, weight.form)
        if not spec.tie_embeddings:
            yield Weight("head.weight", (self.head,))

    def reasons_against(self, spec: ModelSpec) -> list[str]:
        """The reasons why this family can't express ``spec``; empty if it can, exactly.

        The configuration is written and read back. The family can't express a setting that differs afterwards.
        """
        reasons = _unlike(spec, self.always) or self.limits(spec)
        if reasons:
            return reasons
        try:
            back = self.read(self.write(spec))
        except UnsupportedError as error:
            return [str(error)]
        wanted, found = facts(spec), facts(back)
        different = [name for name in wanted if wanted[name] != found.get(name)]
        return [f"{name} {_told(wanted[name])} would be {_told(found.get(name))}" for name in different]


def _unlike(spec: ModelSpec, always: Mapping[str, Any]) -> list[str]:
    """The fields of ``spec`` that differ from those of all models of a family."""
    reasons = []
    for name, value in always.items():
        of_layers = name.partition(".")[0] in LayerSpec.model_fields
        holders: Sequence[ModelSpec | LayerSpec] = spec.layers if of_layers else [spec]
        found = {setting(holder, name) for holder in holders}
        if found != {value}:
            others = ", ".join(sorted({_told(other) for other in found - {value}}))
            reasons.append(f"{name} {others} is not {_told(value)}")
    return reasons


def _told(value: Any) -> str:
    if isinstance(value, Component):
        return value.kind
    return "none" if value is None else str(value)


def told(reasons: list[str]) -> str:
    """The first ``reasons``, and the number of others."""
    more = f"; and {len(reasons) - SHOWN} more" if len(reasons) > SHOWN else ""
    return "; ".join(reasons[:SHOWN]) + more
