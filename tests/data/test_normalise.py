import unicodedata

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_core.data.normalise import normalised
from llm_core.experiment.cleaning import CleaningSpec

SPECS = st.builds(
    CleaningSpec,
    unicode_form=st.sampled_from(["NFC", "NFKC", "none"]),
    plain_quotes=st.booleans(),
    uncased=st.booleans(),
)
# Often white space, quotation marks, things that combine and compatibility forms, next to anything else.
TEXT = st.text(
    st.one_of(
        st.sampled_from(" \t\n\r\x0b\x0c\x85\u2028\u00a0\u200b\ufeff\x00\x1b“”‘’…—é\u0301\u0307İǅKΩ™ﬁ½´\u0345ß"),
        st.characters(exclude_categories=["Cs"]),
    ),
    max_size=40,
)


def clean(*texts, **options):
    return pl.DataFrame({"text": texts}).select(normalised(CleaningSpec(**options))).to_series().to_list()


@settings(max_examples=400, deadline=None)
@given(text=TEXT, spec=SPECS)
def test_twice_is_once(text, spec):
    once = clean(text, **spec.model_dump(exclude={"rules"}))[0]
    assert clean(once, **spec.model_dump(exclude={"rules"}))[0] == once
    assert not any(unicodedata.category(character) == "Cc" and character not in "\t\n" for character in once)
    assert "\n\n\n" not in once
    assert once == once.strip()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\r\nb\rc\x0cd\u2028e", "a\nb\nc\nd\ne"),
        ("a  \n\t\n \n\n\nb\u00a0 \n", "a\n\nb"),
        ("  indented\n    more\n\tand tab", "indented\n    more\n\tand tab"),
        ("a\x00b\x1b[0m\x7fc", "ab[0mc"),
        ("\ufeffzero\u200bwidth soft\u00adhyphen", "zerowidth softhyphen"),
        ("क्\u200dष 👩\u200d💻", "क्\u200dष 👩\u200d💻"),
        ("e\u0301", "é"),
        ("“It’s” – «so» — 1‑2…", '"It\'s" - "so" - 1-2...'),
        ("ﬁ ™", "ﬁ ™"),
        ("\n \t ", ""),
    ],
)
def test_examples(text, expected):
    assert clean(text) == [expected]


def test_options():
    assert clean("“ﬁ™” e\u0301", unicode_form="NFKC", plain_quotes=False) == ["“fiTM” é"]
    assert clean("“ﬁ” e\u0301", unicode_form="none", plain_quotes=False) == ["“ﬁ” e\u0301"]
    assert clean("GROSS ΑΣ İ", uncased=True) == ["gross ας i̇"]
    assert clean("™", uncased=True, unicode_form="NFKC") == ["tm"]
