import unicodedata

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_core.data.normalise import _UNSURE, normalised
from llm_core.experiment.cleaning import CleaningSpec

KINDS = ("letters", "digits", "punctuation", "symbols", "emoji")
OPTIONS = st.fixed_dictionaries(
    {
        "unicode_form": st.sampled_from(["NFC", "NFKC", "none"]),
        "plain_quotes": st.sampled_from([False, True, "curly"]),
        "uncased": st.booleans(),
        "keep": st.none() | st.lists(st.sampled_from(KINDS), min_size=1, unique=True).map(tuple),
    }
)
# Often white space, quotation marks, things that combine and compatibility forms, next to anything else.
TEXT = st.text(
    st.one_of(
        st.sampled_from(" \t\n\r\x0b\x0c\x85\u2028\u00a0\u200b\ufeff\x00\x1b“”‘’…—é\u0301\u0307İǅKΩ™ﬁ½´\u0345ß"),
        st.sampled_from("\u1100\u1161\u11a8\u0f71\u0f72\u05d0\u05b0\u200d\u200c\ufe0f👩🏽💻©7€\u3000\u2003"),
        st.characters(exclude_categories=["Cs"]),
    ),
    max_size=40,
)


def clean(*texts, **options):
    return normalised(pl.Series("text", texts, dtype=pl.String), CleaningSpec(**options)).to_list()


@settings(max_examples=200, deadline=None)
@given(texts=st.lists(TEXT, max_size=4), options=OPTIONS)
def test_twice_is_once(texts, options):
    once = clean(*texts, **options)
    assert clean(*once, **options) == once
    for text in once:
        assert not any(unicodedata.category(character) == "Cc" and character not in "\t\n" for character in text)
        assert "\n\n\n" not in text
        assert text == text.strip()
        assert not any(line and line[-1].isspace() for line in text.split("\n"))
        if options["unicode_form"] != "none" and all(unicodedata.category(character) != "Cn" for character in text):
            assert unicodedata.is_normalized(options["unicode_form"], text)


@given(TEXT)
def test_only_the_texts_that_need_it_change(text):
    plain = "Nothing to do here."
    assert clean(plain, text, plain) == [plain, clean(text)[0], plain]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\r\nb\rc\x0cd\u2028e", "a\nb\nc\nd\ne"),
        ("a\r\r\nb", "a\n\nb"),
        ("a  \n\t\n \n\n\nb\u00a0 \n", "a\n\nb"),
        ("  indented\n    more\n\tand tab", "indented\n    more\n\tand tab"),
        ("a\x00b\x1b[0m\x7fc", "ab[0mc"),
        ("\ufeffzero\u200bwidth soft\u00adhyphen", "zerowidth softhyphen"),
        ("क्\u200dष 👩\u200d💻", "क्\u200dष 👩\u200d💻"),
        ("e\u0301", "é"),
        ("e\u200b\u0301", "é"),
        ("“It’s” – «so» — 1‑2…", '"It\'s" - "so" - 1-2...'),
        ("ﬁ ™", "ﬁ ™"),
        ("שלום \u202eabc\u202c", "שלום abc"),
        ("\n \t ", ""),
        ("", ""),
    ],
)
def test_examples(text, expected):
    assert clean(text) == [expected]


def test_options():
    assert clean("“ﬁ™” e\u0301", unicode_form="NFKC", plain_quotes=False) == ["“fiTM” é"]
    assert clean("“ﬁ” e\u0301", unicode_form="none", plain_quotes=False) == ["“ﬁ” e\u0301"]
    assert clean("‘a’ “b” ‚c„ «d» e–f—g…", plain_quotes="curly") == ["'a' \"b\" ‚c„ «d» e–f—g…"]
    assert clean("GROSS ΑΣ İ", uncased=True) == ["gross ας i̇"]
    assert clean("™", uncased=True, unicode_form="NFKC") == ["tm"]
    assert clean("a\u3000b", unicode_form="NFKC") == ["a b"]


def test_kinds_of_characters():
    text = "Añ ٣ - $5 © 中 ∑ 👩🏽\u200d💻❤\ufe0f क्\u200dष\nend"
    assert clean(text, keep=KINDS) == [text]
    assert clean(text, keep=("letters", "digits", "punctuation")) == ["Añ ٣ - $5 中 क्\u200dष\nend"]
    assert clean(text, keep=("letters", "digits", "punctuation", "emoji")) == [
        "Añ ٣ - $5 中 👩🏽\u200d💻❤\ufe0f क्\u200dष\nend"
    ]
    assert clean(text, keep=("digits",)) == ["٣ 5"]
    assert clean("a©\u0301b", keep=("letters",)) == ["a b"]
    assert clean("A house—and a well-known, state-of-the-art barn", keep=("letters",)) == [
        "A house and a well known state of the art barn"
    ]
    assert clean("and/or; end.Next\n- on May 3, 2021 they left (5)", keep=("letters",)) == [
        "and or end Next\non May they left"
    ]


@pytest.mark.parametrize("form", ["NFC", "NFKC"])
def test_characters_that_cost_nothing_stay_and_join_nothing(form):
    every = pl.Series("text", [chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000])
    formed, parts = (every.to_frame().select(pl.col("text").str.normalize(to)).to_series() for to in (form, "NFD"))
    sure = ~every.str.contains(_UNSURE[form])
    assert formed.filter(sure).equals(every.filter(sure))
    behind = set("".join(part[1:] for part in parts.filter(parts.str.len_chars() > 1)))
    assert not behind & set(every.filter(sure))
