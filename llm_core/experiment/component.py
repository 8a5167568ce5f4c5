"""Parts of an experiment of which there are several kinds: each kind brings its settings, its checks and what it costs.

``feed_forward: {kind: swiglu, d_ff: 704}`` is the class that the registry has under ``swiglu``, with its field
``d_ff``; ``norm: rmsnorm`` is a kind with its defaults. No other place knows the kinds by name.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from pydantic import GetCoreSchemaHandler, SerializationInfo, ValidationError
from pydantic_core import CoreSchema, core_schema

from llm_core.errors import PedigreeError
from llm_core.experiment.base import Spec, from_plain, told
from llm_core.registry import Registry


class Component(Spec):
    """One kind. A subclass says its name: ``kind: Literal["swiglu"] = "swiglu"``."""

    kind: str


@dataclass(frozen=True, eq=False)
class KindOf:
    """Marks a field that holds a component of ``registry``: ``Annotated[FeedForwardSpec, KindOf(FEED_FORWARDS)]``.

    Given as the name of a kind, as a mapping with ``kind`` and settings, or as the component itself. ``default``: the
    kind of a mapping that names none.
    """

    registry: Registry
    default: str | None = None

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        del handler
        return core_schema.no_info_plain_validator_function(
            partial(self.made, base=source),
            serialization=core_schema.plain_serializer_function_ser_schema(_plain, info_arg=True),
        )

    def made(self, value: Any, base: type[Component] = Component) -> Component:
        """The component that ``value`` describes; ``ValueError`` for a kind that is not known, and for its settings.

        Raises ``PedigreeError`` for a kind that is no whole ``base``: a mistake in code, and none in an experiment.
        """
        if isinstance(value, Component):
            self.registry.check(value.kind)
            return value
        settings = {"kind": value} if isinstance(value, str) else value
        if not isinstance(settings, Mapping):
            raise ValueError(f"give the name of a {self.registry.what}, or a mapping with kind and settings")
        if self.default is not None:
            settings = {"kind": self.default, **settings}
        if "kind" not in settings:
            known = ", ".join(sorted(self.registry))
            raise ValueError(f"there is no kind; say which {self.registry.what}: {known}")
        kind = self.registry.check(str(settings["kind"]))
        try:
            component = from_plain(_whole(self.registry, kind, base), settings)
        except ValidationError as error:
            raise ValueError(f"{kind}: {told(error)}") from None
        return component


def _whole(registry: Registry, kind: str, base: type[Component]) -> type[Component]:
    """The class that ``registry`` has under ``kind``, if it has all that a ``base`` is asked for."""
    found, where = registry.load(kind), f"{registry[kind]} (the {registry.what} {kind!r})"
    if not (isinstance(found, type) and issubclass(found, base)):
        raise PedigreeError(f"{where}: is no {base.__name__}; derive it from that class")
    if missing := sorted(found.__abstractmethods__):
        raise PedigreeError(f"{where}: has no {' and no '.join(missing)}; {base.__name__} says what they are asked for")
    if found.model_fields["kind"].default != kind:
        raise PedigreeError(f'{where}: its field kind does not say so; write kind: Literal["{kind}"] = "{kind}"')
    return found


def _plain(component: Component, info: SerializationInfo) -> dict[str, Any]:
    return component.model_dump(mode=info.mode)


def over(below: Any, above: Any) -> Any:
    """``above`` over ``below``, both as they stand in an experiment: settings of the same kind are merged, and another
    kind stands alone. A mapping without ``kind`` is of the kind below."""
    if isinstance(below, Component):
        below = below.model_dump(mode="json")
    if isinstance(below, str) and isinstance(above, Mapping):
        below = {"kind": below}
    if not isinstance(below, Mapping) or not isinstance(above, Mapping):
        return above
    if above.get("kind", below.get("kind")) != below.get("kind"):
        return above
    return {**below, **{name: over(below.get(name), value) for name, value in above.items()}}
