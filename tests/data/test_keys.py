import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_core.data.keys import folded, key_hashes


def keys(*texts):
    return pl.DataFrame({"text": texts}).select(key=folded())["key"].to_list()


@pytest.mark.parametrize(
    ("text", "other"),
    [
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
    ],
)
def test_case_and_forms_are_folded(text, other):
    assert len(set(keys(text, other))) == 1


@pytest.mark.parametrize(("text", "other"), [("résumé", "resume"), ("ı", "i"), ("a b", "b a"), ("≠", "≮"), ("!", "?")])
def test_what_is_not_folded(text, other):
    assert len(set(keys(text, other))) == 2


@given(st.text(st.characters(exclude_categories=["Cs", "Mn", "Mc", "Me"], exclude_characters="ı"), max_size=20))
def test_upper_and_lower_case_share_a_key(text):
    assert len(set(keys(f"x{text}", f"x{text}".upper(), f"x{text}".lower()))) == 1


def test_hashes_follow_the_key():
    hashes = key_hashes(pl.DataFrame({"text": ["Straße", "STRASSE!", "other"]})).tolist()
    assert hashes[0] == hashes[1] != hashes[2]
