"""What every section of an experiment shares: strict, frozen, and with a canonical form for identities."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, WrapValidator
from pydantic_core import ErrorDetails, InitErrorDetails

from llm_core.registry import Registry

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]


class Spec(BaseModel):
    """One section of an experiment: unknown keys, wrong types, NaN and infinity are errors; values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False, validate_default=True)


_Section = TypeVar("_Section", bound=Spec)


def problems(error: ValidationError) -> list[ErrorDetails]:
    """pydantic's errors, without those about the length of a list that only say that its items are wrong."""
    found = error.errors()
    inner = {problem["loc"][:depth] for problem in found for depth in range(len(problem["loc"]))}
    return [problem for problem in found if problem["type"] != "too_short" or problem["loc"] not in inner]


def message(problem: ErrorDetails) -> str:
    """One of pydantic's errors, without its place, as people are told of it."""
    if problem["type"] == "extra_forbidden":
        return "there is no such key; look for a typing error"
    text = problem["msg"].removeprefix("Value error, ")
    whole = isinstance(problem["input"], dict) or problem["type"] == "json_invalid"
    return text if whole else f"{text} (it is {problem['input']!r})"


def told(error: ValidationError, section: str = "") -> str:
    """What is wrong with a section that was put together from others, in one line."""
    found = problems(error)
    places = [".".join(map(str, [*([section] if section else []), *problem["loc"]])) for problem in found]
    texts = [message(problem) for problem in found]
    return "; ".join(f"{place}: {text}" if place else text for place, text in zip(places, texts, strict=True))


@dataclass(frozen=True, eq=False)
class Name:
    """Checks that a string is a name of one of ``registries``."""

    registries: tuple[Registry, ...]

    def __call__(self, name: str) -> str:
        """``name``; ``ValueError`` with all names for one that is in none."""
        if all(name not in registry for registry in self.registries):
            known = sorted(known for registry in self.registries for known in registry)
            raise ValueError(f"unknown {self.registries[-1].what} {name!r}; known: {', '.join(known)}")
        return name


def one_of(*registries: Registry) -> AfterValidator:
    """Marks a string that must be a name of one of ``registries``."""
    return AfterValidator(Name(registries))


def frozen(value: Any) -> Any:
    """Lists as tuples: a strict model takes lists for them only straight from JSON."""
    if isinstance(value, list):
        return tuple(frozen(item) for item in value)
    return {name: frozen(item) for name, item in value.items()} if isinstance(value, dict) else value


def from_plain(section: type[_Section], data: Mapping[str, Any]) -> _Section:
    """A section as read from YAML. Raises ``ValidationError`` in the words that pydantic has for JSON."""
    try:
        return section.model_validate(frozen(data))
    except ValidationError as error:
        found = [
            InitErrorDetails(
                type=problem["type"],
                loc=problem["loc"],
                input=list(problem["input"]) if isinstance(problem["input"], tuple) else problem["input"],
                ctx=problem.get("ctx", {}),
            )
            for problem in error.errors()
        ]
        raise ValidationError.from_exception_data(error.title, found, input_type="json") from None


def either(what: str) -> WrapValidator:
    """Marks a field of several types: ``what`` is told in place of an error for each of them."""

    def checked(value: Any, check: Callable[[Any], Any]) -> Any:
        try:
            return check(frozen(value))
        except ValidationError:
            raise ValueError(what) from None

    return WrapValidator(checked)


def later(default: Any, absent: Any) -> Any:
    """A field added after artifacts existed: where it equals ``absent`` it stays out of identities.

    ``absent`` is the value that stands for what the code did before the field was there. It is written out, and never
    follows a later change of the default.
    """
    return Field(default=default, json_schema_extra={"absent": absent})


def outside_identity(**options: Any) -> Any:
    """A field that stays out of identities: it says where something lies on this machine, only watches a run, or can
    only stop one."""
    return Field(json_schema_extra={"outside_identity": True}, **options)


def without_outsiders(plain: Any, value: Any) -> Any:
    """``plain``, the canonical form that a ``value`` of this kind once had, without the fields that are outside
    identities now."""
    if isinstance(value, Spec) and isinstance(plain, Mapping):
        fields = type(value).model_fields
        extras = {name: field.json_schema_extra for name, field in fields.items()}
        outside = {name for name, extra in extras.items() if isinstance(extra, dict) and extra.get("outside_identity")}
        return {
            name: without_outsiders(part, getattr(value, name, None))
            for name, part in plain.items()
            if name not in outside
        }
    if isinstance(value, Mapping) and isinstance(plain, Mapping):
        return {name: without_outsiders(part, value.get(name)) for name, part in plain.items()}
    if isinstance(plain, list) and isinstance(value, list | tuple) and len(plain) == len(value):
        return [without_outsiders(part, item) for part, item in zip(plain, value, strict=True)]
    return plain


def canonical(value: Any, absent: bool = False) -> Any:
    """``value`` as plain JSON data in the form that identities are made of.

    What a specification derives from its fields (its properties) counts by value as well, since the code digest stops
    before the code that derives it. With ``absent``, fields that say no more than what was before are there too.
    """
    if isinstance(value, Spec):
        fields = {}
        for name, field in sorted(type(value).model_fields.items()):
            extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
            plain = canonical(getattr(value, name), absent)
            elided = "absent" in extra and plain == extra["absent"] and not absent
            if not (extra.get("outside_identity") or elided):
                fields[name] = plain
        derived = [name for name, member in vars(type(value)).items() if isinstance(member, property)]
        return {**fields, **{name: canonical(getattr(value, name), absent) for name in sorted(derived)}}
    if isinstance(value, Mapping):
        return {str(key): canonical(item, absent) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [canonical(item, absent) for item in value]
    if value is None or isinstance(value, str | bool | int | float):
        return value
    raise TypeError(f"{type(value).__name__} has no place in an experiment")
