"""The base of every section of an experiment: strict, frozen, and with a canonical form for identities."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, WrapValidator
from pydantic_core import ErrorDetails, InitErrorDetails

from llm_core.registry import Registry

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]


class Spec(BaseModel):
    """One section of an experiment. Unknown keys, wrong types, NaN and infinity are errors. Values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False, validate_default=True)


_Section = TypeVar("_Section", bound=Spec)


def problems(error: ValidationError) -> list[ErrorDetails]:
    """pydantic's errors, without errors about the length of a list that only repeat that its items are invalid."""
    found = error.errors()
    inner = {problem["loc"][:depth] for problem in found for depth in range(len(problem["loc"]))}
    return [problem for problem in found if problem["type"] != "too_short" or problem["loc"] not in inner]


def message(problem: ErrorDetails) -> str:
    """The text of one of pydantic's errors, without its location."""
    if problem["type"] == "extra_forbidden":
        return "there is no such key; look for a typo"
    text = problem["msg"].removeprefix("Value error, ")
    whole = isinstance(problem["input"], dict) or problem["type"] == "json_invalid"
    return text if whole else f"{text} (it is {problem['input']!r})"


def told(error: ValidationError, section: str = "") -> str:
    """The errors of a section that was composed from other sections, in one line."""
    found = problems(error)
    places = [".".join(map(str, [*([section] if section else []), *problem["loc"]])) for problem in found]
    texts = [message(problem) for problem in found]
    return "; ".join(f"{place}: {text}" if place else text for place, text in zip(places, texts, strict=True))


@dataclass(frozen=True, eq=False)
class Name:
    """Checks that a string is a name of one of ``registries``."""

    registries: tuple[Registry, ...]

    def __call__(self, name: str) -> str:
        """``name``. Raises ``ValueError`` with all names for one that is in none, and ``PedigreeError`` for a component
        of a plug-in that lacks a part."""
        if all(name not in registry for registry in self.registries):
            known = sorted(known for registry in self.registries for known in registry)
            raise ValueError(f"unknown {self.registries[-1].what} {name!r}; known: {', '.join(known)}")
        for registry in self.registries:
            registry.check_plugin(name)
        return name


def one_of(*registries: Registry) -> AfterValidator:
    """Marks a string that must be a name in one of ``registries``."""
    return AfterValidator(Name(registries))


def frozen(value: Any) -> Any:
    """Lists as tuples: a strict model accepts a list for a tuple only when it parses JSON itself."""
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
    """Marks a field of several types: one error with the text ``what`` replaces an error for each type."""

    def checked(value: Any, check: Callable[[Any], Any]) -> Any:
        try:
            return check(frozen(value))
        except ValidationError:
            raise ValueError(what) from None

    return WrapValidator(checked)


def later(default: Any, absent: Any) -> Any:
    """A field that was added when artifacts existed already. It is not part of identities where it equals ``absent``.

    ``absent``: the value that means the behaviour of the code before the field existed. It is a literal, and does not
    follow a later change of the default.
    """
    return Field(default=default, json_schema_extra={"absent": absent})


def outside_identity(**options: Any) -> Any:
    """A field that is not part of identities: a path on this machine, or a setting that only watches or stops a run."""
    return Field(json_schema_extra={"outside_identity": True}, **options)


def without_outsiders(plain: Any, value: Any) -> Any:
    """``plain`` (an earlier canonical form of a ``value`` of this type) without the fields that are now outside
    identities."""
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
    """``value`` as plain JSON data, in the form from which identities are computed.

    The properties of a specification are included by value, because the code digest does not follow their code. With
    ``absent``, fields that equal their ``absent`` value are included too.
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
    raise TypeError(f"{type(value).__name__} is not a type of an experiment's values")


def flat(section: Mapping[str, Any], place: str = "") -> dict[str, Any]:
    """``section.field`` → value, of nested sections."""
    found: dict[str, Any] = {}
    for name, value in section.items():
        found |= flat(value, f"{place}{name}.") if isinstance(value, Mapping) else {f"{place}{name}": value}
    return found
