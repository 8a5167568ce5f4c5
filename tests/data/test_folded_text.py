from itertools import pairwise

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_core.data.folded_text import folded
from llm_core.data.kernels.folding import fold
from tests.data.kernels.test_words import HOSTILE


def general(*texts):
    return pl.DataFrame({"text": texts}, schema={"text": pl.String}).select(key=folded())["key"].to_list()


def keys(*texts):
    data, offsets = fold(pl.Series("text", texts, dtype=pl.String))
    return [data[start:stop].tobytes().decode() for start, stop in pairwise(offsets)]


@pytest.mark.parametrize(
    ("text", "other"),
    [
        ("Hello, World!", "hello  world"),
        ("a-b\n\nc", "A b (c)"),
        ("...", " ... "),
        ("Straße", "STRASSE"),
        ("STRAẞE", "strasse"),
        ("İstanbul", "istanbul"),
        ("ΟΔΟΣ. ΣΑΣ", "οδος σας"),
        ("οδοσ", "ΟΔΟΣ"),
        ("ᾳδω", "ΑΙΔΩ"),
        ("ΐ", "Ϊ́"),
        ("ǰ", "J̌"),
        ("ﬁne", "FINE"),
        ("ŉ", "ʼN"),
        ("É", "e\u0301"),
        ("Two  words!", "two words"),
        ("\u13a0", "\uab70"),
        ("각", "\u1100\u1161\u11a8"),
    ],
)
def test_case_and_forms_are_folded(text, other):
    assert len(set(keys(text, other))) == 1
    assert len(set(general(text, other))) == 1


@pytest.mark.parametrize(
    ("text", "other"),
    [
        ("résumé", "resume"),
        ("ı", "i"),
        ("a b", "b a"),
        ("≠", "≮"),
        ("!", "?"),
        ("ab", "a b"),
        ("x 1", "x 2"),
        ("é", "e"),
    ],
)
def test_what_is_not_folded(text, other):
    assert len(set(keys(text, other))) == 2


@given(st.text(st.characters(exclude_categories=["Cs", "Mn", "Mc", "Me"], exclude_characters="ı"), max_size=20))
def test_upper_and_lower_case_share_a_key(text):
    assert len(set(keys(f"x{text}", f"x{text}".upper(), f"x{text}".lower()))) == 1


JOINING = st.text(
    st.sampled_from(
        "aI =<i.\t\u0301\u0323\u0338\u0307\u0345\u0f73\u1100\u1161\u11a8\uac00\u3099か\uff76\uff9e"
        "´¨ﷺİẞΣσςŉ½…ﬃ\u200d\u0c46\u0c56"
    ),
    max_size=12,
)


@given(st.lists(st.one_of(HOSTILE, JOINING), max_size=6))
def test_the_kernel_folds_as_the_general_way_does(texts):
    """Whatever joins with what stands before it, and across texts and spaces."""
    assert keys(*texts) == general(*texts)


def test_every_character_folds_as_the_general_way_does():
    """Between letters, after a space, and alone."""
    characters = [chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000]
    texts = ["".join(characters[start : start + 500]) for start in range(0, len(characters), 500)]
    texts += [" a".join(characters[start : start + 500]) for start in range(0, len(characters), 500)]
    assert keys(*texts) == general(*texts)
