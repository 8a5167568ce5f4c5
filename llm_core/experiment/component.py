"""Components: parts of an experiment with several kinds. Each kind defines its own settings, checks and costs.

``feed_forward: {kind: swiglu, d_ff: 704}`` is the class ``swiglu`` of the registry, with its field ``d_ff``. ``norm:
rmsnorm`` is a kind with its defaults. No other code knows the kinds by name.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Self

from pydantic import Field, GetCoreSchemaHandler, SerializationInfo, ValidationError
from pydantic_core import CoreSchema, core_schema

from llm_core.errors import PedigreeError
from llm_core.experiment.base import Spec, from_plain, told
from llm_core.registry import Registry


class Component(Spec):
    """One kind. A subclass gives its name: ``kind: Literal["swiglu"] = "swiglu"``."""

    kind: str

    switch: ClassVar[str] = ""
    """The setting that turns it on, if an experiment can't name it among its ``choices``."""

    def narrowed(self, before: int, after: int) -> Self:
        """The same for a model of width ``after`` instead of ``before``: fields that are ``with_width`` in proportion.

        They stay multiples of the power of two, up to 16, that they are multiples of.
        """
        extras = {name: field.json_schema_extra for name, field in type(self).model_fields.items()}
        marked = [name for name, extra in extras.items() if isinstance(extra, dict) and extra.get("with_width")]
        sizes = {name: size for name in marked if (size := getattr(self, name)) is not None}
        return self.model_copy(update={name: _in_proportion(size, before, after) for name, size in sizes.items()})


@dataclass(frozen=True, eq=False)
class KindOf:
    """Marks a field for a component of ``registry``: ``Annotated[FeedForwardSpec, KindOf(FEED_FORWARDS)]``.

    Its value is the name of a kind, a mapping with ``kind`` and settings, or a component. ``default``: the kind of a
    mapping without ``kind``.
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
        """The component that ``value`` describes. Raises ``ValueError`` for an unknown kind and for invalid settings.

        Raises ``PedigreeError`` for a kind that does not implement ``base``: a mistake in code, not in an experiment.
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
            raise ValueError(f"kind is missing; choose one of: {known}")
        kind = self.registry.check(str(settings["kind"]))
        try:
            component = from_plain(_whole(self.registry, kind, base), settings)
        except ValidationError as error:
            raise ValueError(f"{kind}: {told(error)}") from None
        return component


def with_width(**options: Any) -> Any:
    """A field whose value changes in proportion to the width of the model (``Component.narrowed``)."""
    return Field(json_schema_extra={"with_width": True}, **options)


def divisor_near(number: int, wanted: float, allowed: Callable[[int], bool] | None = None) -> int:
    """The ``allowed`` divisor of ``number`` whose ratio to ``wanted`` is nearest to 1, the smaller one of two; at
    least 1."""
    divisors = [divisor for divisor in range(1, number + 1) if number % divisor == 0]
    if allowed is not None:
        divisors = [divisor for divisor in divisors if allowed(divisor)] or [1]
    return min(divisors, key=lambda divisor: max(divisor / wanted, wanted / divisor))


def _in_proportion(size: int, before: int, after: int) -> int:
    step = math.gcd(size, 16)
    return step * max(1, round(size * after / before / step))


def choices(value: Any, registry: Registry, base: type[Component], place: str) -> dict[str, Any]:
    """Kind → component, of a mapping kind → settings: such mappings merge where one experiment extends another.

    ``place``: the field, for messages. Raises ``ValueError`` for a kind that can't be chosen, and for invalid settings.
    """
    if not isinstance(value, Mapping):
        raise ValueError(f"give a mapping from {registry.what}s to their settings; {{}} for the defaults")
    found: dict[str, Any] = {}
    for kind, settings in value.items():
        if settings is None:  # removed by a file that extends another
            continue
        if isinstance(settings, Mapping):
            settings = {**settings, "kind": kind}
        elif not isinstance(settings, base):
            raise ValueError(f"{kind}: give its settings as a mapping; {{}} for the defaults")
        component = KindOf(registry).made(settings, base)
        if component.switch:
            raise ValueError(f"{kind}: {component.switch}; remove it from {place}")
        found[str(kind)] = component
    return found


def plain_choices(chosen: Mapping[str, Component], info: SerializationInfo) -> dict[str, Any]:
    """The mapping from which ``choices`` makes the same components."""
    return {kind: component.model_dump(mode=info.mode, exclude={"kind"}) for kind, component in chosen.items()}


def _whole(registry: Registry, kind: str, base: type[Component]) -> type[Component]:
    """The class ``kind`` of ``registry``, after a check that it implements ``base``."""
    found, where = registry.load(kind), f"{registry[kind]} (the {registry.what} {kind!r})"
    interface = f"{base.__module__}.{base.__name__}"
    if not (isinstance(found, type) and issubclass(found, base)):
        raise PedigreeError(f"{where}: is not a subclass of {base.__name__}; derive it from {interface}")
    if missing := sorted(found.__abstractmethods__):
        raise PedigreeError(f"{where}: has no {' and no '.join(missing)}: define what {interface} documents")
    if found.model_fields["kind"].default != kind:
        raise PedigreeError(f'{where}: its field kind has another name; write kind: Literal["{kind}"] = "{kind}"')
    return found


def _plain(component: Component, info: SerializationInfo) -> dict[str, Any]:
    return component.model_dump(mode=info.mode)


def over(below: Any, above: Any) -> Any:
    """``above`` merged over ``below``, both as written in an experiment. Settings of the same kind are merged; another
    kind replaces all settings. A mapping without ``kind`` has the kind of ``below``."""
    if isinstance(below, Component):
        below = below.model_dump(mode="json")
    if isinstance(below, str) and isinstance(above, Mapping):
        below = {"kind": below}
    if not isinstance(below, Mapping) or not isinstance(above, Mapping):
        return above
    if above.get("kind", below.get("kind")) != below.get("kind"):
        return above
    return {**below, **{name: over(below.get(name), value) for name, value in above.items()}}
