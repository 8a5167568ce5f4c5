"""What holds for every redaction."""

import polars as pl

from llm_core.contracts import settings
from llm_core.contracts.example import Check, Example
from llm_core.contracts.rules import HOSTILE


def returns_texts_and_counts(example: Example) -> None:
    """Two series, as long as the first."""
    column = pl.Series("text", HOSTILE)
    found = example.component().redacted(column)
    pair = isinstance(found, tuple) and len(found) == 2 and all(isinstance(part, pl.Series) for part in found)
    example.hold(pair, "redacted must return two polars.Series: the texts, and how many pieces were removed from each")
    texts, counts = found
    example.hold(texts.dtype == pl.String and len(texts) == len(HOSTILE), "redacted must return a text for each text")
    example.hold(
        counts.dtype.is_integer() and len(counts) == len(HOSTILE), "redacted must return a whole number for each text"
    )
    changed = [
        repr(old[:20]) for old, new, count in zip(HOSTILE, texts, counts, strict=True) if old != new and not count
    ]
    example.hold(not changed, f"changes {', '.join(changed)} and counts 0 pieces")


def once_is_enough(example: Example) -> None:
    """A second time finds nothing, in the texts of ``text`` of the example."""
    redaction = example.component()
    first, _ = redaction.redacted(pl.Series("text", [*HOSTILE, *TEXTS]))
    second, _ = redaction.redacted(first)
    again = [repr(text[:60]) for text, other in zip(first, second, strict=True) if text != other]
    example.hold(not again, f"changes its own result {', '.join(again)}")


TEXTS = (
    "See [1] and [citation needed] in this text!!! Call +1 650 253 0000 or write to ann@example.org, from 10.0.0.1",
    "https://example.org/a?b=c, 8.8.8.8, 2001:4860:4860::8888, and (12) words; \u201cquoted\u201d \u2026 end!!",
)
"""Texts in which most redactions find something."""

CHECKS: tuple[Check, ...] = (*settings.CHECKS, returns_texts_and_counts, once_is_enough)
