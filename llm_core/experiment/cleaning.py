"""The section about cleaning: normalising, language, redaction, block lists and quality rules."""

from abc import abstractmethod
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from llm_core.experiment.base import Name, Share, Spec, either, frozen, one_of, outside_identity
from llm_core.experiment.component import Component, KindOf
from llm_core.experiment.paths import YamlPath
from llm_core.experiment.presets import expanded
from llm_core.registries import LINE_RULES, REDACTIONS, RULES

WordUnit = Literal["spaces", "english"]
Kind = Literal["letters", "digits", "punctuation", "symbols", "emoji"]


class RuleSpec(Spec):
    """Bounds of one rule's value, both inclusive. A document (or line) outside them is dropped."""

    min: float | None = None
    """The smallest value that stays."""
    max: float | None = None
    """The largest value that stays."""

    @model_validator(mode="after")
    def _bounds(self) -> "RuleSpec":
        if self.min is None and self.max is None:
            raise ValueError("give 'min', 'max' or both")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min} is above max {self.max}")
        return self


class LanguageSpec(Spec):
    """Language identification by lid.176 (Joulin et al., 2016) on the first 1,000 characters."""

    keep: Annotated[tuple[Annotated[str, Field(pattern="^[a-z]{2,3}$")], ...], Field(min_length=1)]
    """ISO 639 codes as lid.176 writes them."""
    min_score: Share = 0.65
    """The smallest probability of the language with which a document stays."""


class BlockListSpec(Spec):
    """A UTF-8 file with one entry per line. A line that starts with ``#`` is a comment."""

    path: Annotated[YamlPath, outside_identity()]
    """A relative path starts at the folder of the experiment's file. The content counts in identities, the path does
    not."""


class RedactionSpec(Component):
    """Something to remove from texts. A kind defines ``redacted``."""

    @abstractmethod
    def redacted(self, column: Any) -> Any:
        """(the column of texts without it, the number of pieces removed from each text): two ``polars.Series``."""

    def knowledge(self) -> Path | None:
        """A data file of a package that affects the result. Its content is part of the identity.

        Raises ``PedigreeError`` when the package is missing.
        """
        return None


_known_rule = Name((LINE_RULES, RULES))


class TextForm(Spec):
    """The form of the text that a model reads: how normalising changes its characters."""

    unicode_form: Literal["NFC", "NFKC", "none"] = "NFC"
    """The Unicode normal form of the text; ``none``: as it is."""
    plain_quotes: Annotated[bool | Literal["curly"], either("give true, false or curly")] = True
    """Typographic quotation marks, dashes and ellipses become ASCII; ``curly``: only the four quotation marks
    ‘ ’ “ ”."""
    uncased: bool = False
    """Whether all letters become lower case."""
    keep: Annotated[tuple[Kind, ...], Field(min_length=1)] | None = None
    """Kinds of characters to keep, beside white space; null keeps all. ASCII symbols count as punctuation. A removed
    character between two kept ones becomes a space, so that ``house—and`` stays two words."""


class CleaningSpec(TextForm):
    """Normalising, block lists, language, redaction, and then the rules in their order in the file.

    A drop is recorded under the first check that the document fails. ``preset`` (``presets.PRESETS``) is expanded while
    loading: its settings count in identities, its name does not. A null removes a rule.
    """

    repair: bool = False
    """Whether ftfy repairs mojibake (``cafÃ©`` for ``café``) first. Mojibake is counted in any case."""
    blocked_urls: BlockListSpec | None = None
    """Hosts and addresses whose documents are dropped, with everything below them."""
    language: LanguageSpec | None = None
    blocked_words: BlockListSpec | None = None
    """Words and phrases, ignoring case. A document that contains one is dropped."""
    redactions: tuple[Annotated[RedactionSpec, KindOf(REDACTIONS)], ...] = ()
    """What is replaced or removed in the text, in this order: addresses, telephone numbers, citations."""
    words: WordUnit = "spaces"
    """What the rules count as a word. ``spaces``: a run without white space (Rae et al., 2021). ``english``: a token of
    spaCy's English tokenizer, as datatrove counted for FineWeb (Penedo et al., 2024)."""
    rules: dict[Annotated[str, one_of(LINE_RULES, RULES)], RuleSpec] = Field(default_factory=dict)
    """Line rules (``line_…``) remove lines; the rules after them judge the remaining text."""

    @field_validator("redactions")
    @classmethod
    def _kinds_differ(cls, redactions: tuple[RedactionSpec, ...]) -> tuple[RedactionSpec, ...]:
        kinds = [redaction.kind for redaction in redactions]
        if len(set(kinds)) != len(kinds):
            raise ValueError(f"{', '.join(kinds)}: give each kind only once")
        return redactions

    def form(self) -> TextForm:
        """Only the settings for the form of text."""
        return TextForm(**{name: getattr(self, name) for name in TextForm.model_fields})

    @model_validator(mode="before")
    @classmethod
    def _written_out(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        if "phone_regions" in data:
            raise ValueError(
                "phone_regions is now a setting of its redaction: write redactions: [{kind: phones, regions: [US, GB]}]"
            )
        settings = expanded(data)
        rules = settings["rules"]
        if isinstance(rules, dict):
            for name, bounds in rules.items():
                if bounds is None:
                    _known_rule(name)
            settings["rules"] = {name: bounds for name, bounds in rules.items() if bounds is not None}
        return {name: frozen(value) for name, value in settings.items()}
