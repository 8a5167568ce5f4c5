"""What a stage measured, as an object with typed fields: checks, reports and the command line read its attributes."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class Results(BaseModel):
    """The results of a stage. A subclass has a field for each figure, with its unit and meaning.

    They are kept in the manifest, as JSON. A figure that is ``volatile`` is not part of the artifact's content.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", protected_namespaces=())

    @classmethod
    def volatile(cls) -> tuple[str, ...]:
        """The names of the volatile fields."""
        extras = {name: field.json_schema_extra for name, field in cls.model_fields.items()}
        return tuple(name for name, extra in extras.items() if isinstance(extra, dict) and extra.get("volatile"))


def volatile(**options: Any) -> Any:
    """A field that may differ when the same is made again (a clock time, a device), or that says nothing about what
    later stages read."""
    return Field(json_schema_extra={"volatile": True}, **options)
