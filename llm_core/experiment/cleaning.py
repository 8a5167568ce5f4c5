"""The section that says what becomes of a text: normalising and quality rules."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from llm_core.experiment.base import Spec, one_of
from llm_core.registries import RULES

RUNTIME_ONLY = True


class RuleSpec(Spec):
    """Bounds of one rule's value, both inclusive; a document outside them is dropped."""

    min: float | None = None
    max: float | None = None

    @model_validator(mode="after")
    def _bounds(self) -> "RuleSpec":
        if self.min is None and self.max is None:
            raise ValueError("give 'min', 'max' or both")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min} is above max {self.max}")
        return self


class CleaningSpec(Spec):
    """Normalising, then rules in the order in which they stand; the first that fails names the drop."""

    unicode_form: Literal["NFC", "NFKC", "none"] = "NFC"
    plain_quotes: bool = True
    """Typographic quotation marks, dashes of that family and ellipses become their ASCII kin."""
    uncased: bool = False
    rules: dict[Annotated[str, one_of(RULES)], RuleSpec] = Field(default_factory=dict)
