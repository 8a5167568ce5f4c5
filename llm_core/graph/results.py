"""The results of a stage, as an object with typed fields for checks, reports and the command line."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class Results(BaseModel):
    """The results of a stage. A subclass has a field for each statistic, with its unit and meaning.

    The manifest stores them as JSON. A ``volatile`` field is not part of the artifact's content.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", protected_namespaces=())

    @classmethod
    def volatile(cls) -> tuple[str, ...]:
        """The names of the volatile fields."""
        extras = {name: field.json_schema_extra for name, field in cls.model_fields.items()}
        return tuple(name for name, extra in extras.items() if isinstance(extra, dict) and extra.get("volatile"))


def volatile(**options: Any) -> Any:
    """A field that may differ in a rebuild (a clock time, a device), or that says nothing about the files that later
    stages read."""
    return Field(json_schema_extra={"volatile": True}, **options)
