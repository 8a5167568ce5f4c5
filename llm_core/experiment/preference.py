"""The section ``preference``: pairs of answers, of which one is preferred."""

from typing import Annotated, Any

from pydantic import Field, field_validator, model_validator

from llm_core.experiment.tuning import AnyTuningSpec, RecordSource, Text

_TEMPLATES, _LISTS = ("prompt", "chosen", "rejected"), ("chosen_messages", "rejected_messages")


class PreferenceSource(RecordSource):
    """Pairs, one per record, in one of two forms: ``prompt``, ``chosen`` and ``rejected``; or ``chosen_messages`` and
    ``rejected_messages``."""

    prompt: Text | None = None
    """The user's turn, with fields of the record in braces."""
    chosen: Text | None = None
    """The better answer, likewise."""
    rejected: Text | None = None
    """The worse answer, likewise."""
    chosen_messages: Text | None = None
    """The field with the whole conversation as a list of messages, which ends with the better answer."""
    rejected_messages: Text | None = None
    """The same with the worse answer. All messages before it must be equal."""

    @model_validator(mode="after")
    def _one_form(self) -> "PreferenceSource":
        given = [name for name in (*_TEMPLATES, *_LISTS) if getattr(self, name) is not None]
        if tuple(given) not in (_TEMPLATES, _LISTS):
            raise ValueError(
                f"give either {', '.join(_TEMPLATES)}, or {' and '.join(_LISTS)} (given: {', '.join(given) or 'none'})"
            )
        return self


class PreferenceSpec(AnyTuningSpec):
    """Direct preference optimisation (Rafailov et al., 2023): the model learns which of two answers is better."""

    sources: Annotated[tuple[PreferenceSource, ...], Field(min_length=1)]
    """One or several; each has a ``name`` of its own."""

    @field_validator("training", mode="before")
    @classmethod
    def _on_pairs(cls, training: Any) -> Any:
        return {"dpo": {}, **training} if isinstance(training, dict) else training

    @model_validator(mode="after")
    def _fits(self) -> "PreferenceSpec":
        self.check_sources(self.sources)
        if self.training.dpo is None:
            raise ValueError("training.dpo: can't be null here; it has the settings of the loss")
        return self
