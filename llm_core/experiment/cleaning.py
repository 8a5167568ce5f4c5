"""The section that says what becomes of a text: normalising, language, redaction, block lists and quality rules."""

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
    """Bounds of one rule's value, both inclusive; what lies outside them is dropped: a document, or a line."""

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
    """A UTF-8 file with an entry a line; a line that starts with ``#`` is a comment."""

    path: Annotated[YamlPath, outside_identity()]
    """Relative ones start at the folder of the experiment's file. Where it lies does not count; what it holds does."""


class RedactionSpec(Component):
    """What is taken out of texts. A kind has ``redacted``."""

    @abstractmethod
    def redacted(self, column: Any) -> Any:
        """(the column of texts without it, how many pieces were taken out of each text): two ``polars.Series``."""

    def knowledge(self) -> Path | None:
        """A file whose content stands for what a package knows, and so is part of the identity.

        Raises ``PedigreeError`` where the package is missing.
        """
        return None


_known_rule = Name((LINE_RULES, RULES))


class TextForm(Spec):
    """The form of text that a model reads: what normalising does to its characters."""

    unicode_form: Literal["NFC", "NFKC", "none"] = "NFC"
    """The Unicode normal form of the text; ``none``: as it is."""
    plain_quotes: Annotated[bool | Literal["curly"], either("give true, false or curly")] = True
    """Typographic quotation marks, dashes of that family and ellipses become their ASCII kin; ``curly``: only the four
    quotation marks ‘ ’ “ ”, and nothing else."""
    uncased: bool = False
    """Whether all letters become lower case."""
    keep: Annotated[tuple[Kind, ...], Field(min_length=1)] | None = None
    """Kinds of characters to keep, beside white space; null keeps all. ASCII symbols count as punctuation. Others
    become a space where they stood between two that stay: ``house—and`` is two words then, too."""


class CleaningSpec(TextForm):
    """Normalising, block lists, language, redaction, then rules in the order in which they stand.

    The first thing that a document fails names its drop. ``preset`` (``presets.PRESETS``) is written out while loading:
    what it stands for counts in identities, its name does not. A rule that is null is taken out.
    """

    repair: bool = False
    """Whether mojibake (``cafÃ©`` for ``café``) is repaired first, by ftfy. It is counted in any case."""
    blocked_urls: BlockListSpec | None = None
    """Hosts (with what lies below them) and addresses (likewise) whose documents are dropped."""
    language: LanguageSpec | None = None
    blocked_words: BlockListSpec | None = None
    """Words and phrases, in any case, of which one drops a document."""
    redactions: tuple[Annotated[RedactionSpec, KindOf(REDACTIONS)], ...] = ()
    """What is replaced or removed in the text, in this order: addresses, telephone numbers, citations."""
    words: WordUnit = "spaces"
    """What rules count as a word: ``spaces``, a run without white space (Rae et al., 2021); ``english``, a word or sign
    as spaCy's English tokenizer cuts them, which datatrove counted for FineWeb (Penedo et al., 2024)."""
    rules: dict[Annotated[str, one_of(LINE_RULES, RULES)], RuleSpec] = Field(default_factory=dict)
    """A run of line rules (``line_…``) takes lines out of the text that the rules after it judge."""

    @field_validator("redactions")
    @classmethod
    def _kinds_differ(cls, redactions: tuple[RedactionSpec, ...]) -> tuple[RedactionSpec, ...]:
        kinds = [redaction.kind for redaction in redactions]
        if len(set(kinds)) != len(kinds):
            raise ValueError(f"{', '.join(kinds)}: give each kind only once")
        return redactions

    def form(self) -> TextForm:
        """The form of text alone."""
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
