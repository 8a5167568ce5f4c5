"""Gopher's quality and repetition rules, ours beside datatrove's, and how far the verdicts agree."""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from functools import lru_cache

import datatrove.pipeline.filters.gopher_quality_filter as quality
import datatrove.pipeline.filters.gopher_repetition_filter as repetition
import polars as pl
from data import Row, megabytes, sample, seconds, table
from datatrove.data import Document

from llm_core.data.rules.judge import document_verdicts
from llm_core.experiment.cleaning import CleaningSpec

RULES = CleaningSpec(preset="gopher").rules

_SHIPPED = quality.split_into_words
_CHEAP = re.compile(r"\w+|[^\w\s]+")


def compare(corpora: Iterator[tuple[str, pl.Series]]) -> None:
    rows: list[Row] = []
    agreements: list[str] = []
    for corpus, texts in corpora:
        rows += _beside(corpus, sample(texts))
        rows.append(_ours(corpus, texts))
        few = sample(texts)
        agreements += [_agreement(corpus, texts, None), _agreement(corpus, few, _SHIPPED)]
    print("\n## Gopher quality and repetition\n")
    table(rows)
    print(
        "\n| corpus | words of datatrove | documents | dropped by ours | same verdict | the rest: ours, datatrove's |"
    )
    print("|---|---|--:|--:|--:|---|")
    print("\n".join(agreements))


def _ours(corpus: str, texts: pl.Series) -> Row:
    frame = texts.to_frame("text")
    return Row(corpus, "ours", len(texts), megabytes(texts), seconds(lambda: document_verdicts(frame, RULES)), "1")


def _beside(corpus: str, texts: pl.Series) -> Iterator[Row]:
    ours = _ours(corpus, texts)
    yield ours
    splitters = {"as shipped (spaCy's words)": _SHIPPED, "words by a regex": _cheap, "words by str.split": _split}
    for name, splitter in splitters.items():
        theirs = seconds(lambda splitter=splitter: _datatrove(texts, splitter))
        yield Row(corpus, f"datatrove, {name}", len(texts), ours.megabytes, theirs, f"{theirs / ours.seconds:.1f}")


def _datatrove(texts: pl.Series, splitter: Callable[..., list[str]]) -> list[str | None]:
    """The rule that drops each text, or None; the second filter sees what the first one keeps, as in a pipeline."""
    quality.split_into_words = repetition.split_into_words = splitter
    filters = (quality.GopherQualityFilter(), repetition.GopherRepetitionFilter())
    return [_first_failure(filters, Document(text=text, id="")) for text in texts]


def _first_failure(filters: tuple, document: Document) -> str | None:
    for one in filters:
        verdict = one.filter(document)
        if verdict is not True:
            return str(verdict[1])
    return None


@lru_cache(5)  # as datatrove keeps its own words from one filter to the next
def _cheap(text: str, _language: str) -> list[str]:
    return _CHEAP.findall(text)


@lru_cache(5)
def _split(text: str, _language: str) -> list[str]:
    return text.split()


def _agreement(corpus: str, texts: pl.Series, splitter: Callable[..., list[str]] | None) -> str:
    """How far the verdicts agree: under one definition of a word (datatrove gets ours), or with its own."""
    ours = document_verdicts(texts.to_frame("text"), RULES)["rule"].to_list()
    if splitter is None:
        words = dict(zip(texts, texts.str.extract_all(_CHEAP.pattern).to_list(), strict=True))
        theirs = _datatrove(texts, lambda text, _: words[text])
    else:
        theirs = _datatrove(texts, splitter)
    pairs = list(zip(ours, theirs, strict=True))
    differ = Counter((mine or "kept", other or "kept") for mine, other in pairs if (mine is None) != (other is None))
    share = 1 - differ.total() / len(pairs)
    rest = "; ".join(f"{mine}, {other} ({count})" for (mine, other), count in sorted(differ.items()))
    dropped = sum(mine is not None for mine in ours) / len(pairs)
    name = "spaCy's" if splitter else "ours"
    return f"| {corpus} | {name} | {len(pairs):,} | {dropped:.1%} | {share:.2%} | {rest or 'none'} |"
