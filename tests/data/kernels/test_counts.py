"""The compiled counts beside plain Python that says the same slowly."""

import re
from collections import Counter

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_core.data.kernels.buffers import to_texts
from llm_core.data.kernels.line_counts import line_counts
from llm_core.data.kernels.repeats import DUPLICATE, TOP, repeats
from llm_core.data.kernels.word_counts import run_lengths, word_counts
from llm_core.data.kernels.words import pieces
from tests.data.kernels.test_words import HOSTILE

WORD = r"\w+|[^\w\s]+"
# Few different words, so that they repeat; and anything at all.
TEXTS = st.lists(
    st.one_of(
        st.lists(st.sampled_from(["a", "b", "bb", "é", "--", "the", "\u05d0\u05b0"]), max_size=60).map(" ".join),
        st.text(st.sampled_from("ab \n.?…-*+•\"') #{Aé。\u00a0\u0301"), max_size=50),
        HOSTILE,
    ),
    max_size=4,
)


def column(texts):
    return pl.Series(texts, dtype=pl.String)


def most_frequent(found, size):
    grams = [" ".join(found[start : start + size]) for start in range(len(found) - size + 1)]
    if not grams:
        return 0
    gram, count = Counter(grams).most_common(1)[0]
    return len(gram) * count


def duplicate(found, size):
    seen, characters, at = set(), 0, 0
    while at <= len(found) - size:
        gram = tuple(found[at : at + size])
        if gram in seen:
            characters += sum(map(len, gram))
            at += size
        else:
            seen.add(gram)
            at += 1
    return characters


@settings(max_examples=100, deadline=None)
@given(TEXTS)
def test_repeated_n_grams(texts):
    split = column(texts).str.extract_all(WORD).to_list()
    found = repeats(pieces(to_texts(column(texts))))
    for size in TOP:
        assert found[f"top_{size}"].tolist() == [most_frequent(each, size) for each in split]
    for size in DUPLICATE:
        assert found[f"duplicate_{size}"].tolist() == [duplicate(each, size) for each in split]


@settings(max_examples=100, deadline=None)
@given(TEXTS)
def test_words(texts):
    listed = pieces(to_texts(column(["the a"]))).hashes
    split = column(texts).str.extract_all(WORD).to_list()
    plain = column(texts).str.extract_all(r"\w+").to_list()
    assert {name: values.tolist() for name, values in word_counts(pieces(to_texts(column(texts))), listed).items()} == {
        "words": [len(each) for each in split],
        "plain_words": [len(each) for each in plain],
        "plain_characters": [sum(map(len, each)) for each in plain],
        "alphabetic_words": column(texts).str.extract_all(r"\w*\p{L}\w*").list.len().to_list(),
        "listed_words": [len({"the", "a"} & set(each)) for each in split],
    }


@settings(max_examples=100, deadline=None)
@given(TEXTS)
def test_words_between_white_space(texts):
    split = column(texts).str.extract_all(r"\S+").to_list()
    found = run_lengths(to_texts(column(texts)))
    assert found["runs"].tolist() == [len(each) for each in split]
    assert found["longest"].tolist() == [max(map(len, each), default=0) for each in split]


def repeated(elements):
    seen, characters = set(), []
    for element in elements:
        if element in seen:
            characters.append(len(element))
        seen.add(element)
    return len(characters), sum(characters)


def matching(lines, pattern):
    return int(pl.Series(lines, dtype=pl.String).str.contains(pattern).sum())


def reference(text):
    """Lines and white space as polars' regular expressions have them."""
    lines = pl.Series(text.split("\n")).str.strip_chars().to_list()
    written = [line for line in lines if line]
    paragraphs = [part.strip("\n") for part in re.split(r"\n\n+", "\n".join(lines)) if part.strip("\n")]
    sentences = 0
    for line in written:
        pieces = pl.Series([line]).str.extract_all(r"\S+")[0]
        ends = pieces.str.contains(r"\p{STerm}[\p{P}[\p{S}&&\p{ASCII}]]*$") & ~pieces.shift(-1).str.contains("^[a-z]")
        sentences += int(ends[:-1].sum()) + 1
    return {
        "characters": len(text),
        "all_lines": text.count("\n") + (text != "" and not text.endswith("\n")),
        "lines": len(written),
        "line_characters": sum(map(len, written)),
        "bullet_lines": matching(written, r"^(?:[•●‣◦▪▫■□·-]|[*+](?:\s|$))"),
        "ellipsis_lines": matching(written, r"(?:\.\.\.|…)$"),
        "sentence_lines": matching(written, r"\p{STerm}$"),
        "short_lines": sum(len(line) <= 30 for line in written),
        "duplicate_lines": repeated(written)[0],
        "duplicate_line_characters": repeated(written)[1],
        "paragraphs": len(paragraphs),
        "paragraph_characters": sum(map(len, paragraphs)),
        "duplicate_paragraphs": repeated(paragraphs)[0],
        "duplicate_paragraph_characters": repeated(paragraphs)[1],
        "hash_signs": text.count("#"),
        "ellipses": text.count("...") + text.count("…"),
        "curly_brackets": text.count("{"),
        "sentences": sentences,
    }


@settings(max_examples=130, deadline=None)
@given(TEXTS)
def test_lines(texts):
    found = line_counts(to_texts(column(texts)))
    for index, text in enumerate(texts):
        assert {name: int(values[index]) for name, values in found.items()} == reference(text), repr(text)


def test_one_line_repeated_for_ever():
    text = "the same line again\n" * 50_000
    found = line_counts(to_texts(column([text, "a", text])))
    assert found["duplicate_lines"].tolist() == [49_999, 0, 49_999]
    assert repeats(pieces(to_texts(column([text]))))["duplicate_8"].tolist() == [(50_000 - 2) // 2 * 32]
