import unicodedata

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_core.data.kernels import characters
from llm_core.data.kernels.buffers import from_texts, to_texts
from llm_core.data.kernels.characters import CODE_POINTS, character_table
from llm_core.data.kernels.english_words import english_words
from llm_core.data.kernels.words import pieces, pieces_of, spaced_words

# White space, connectors, joiners, marks, letters from right to left and beyond the first plane, next to anything else.
HOSTILE = st.text(
    st.one_of(
        st.sampled_from(
            " \n\t\u00a0\u2028\u3000_-'’.…•a1é\u0301\u200d\u200c\u202e\u05d0\u0627中。\U0001f469\U0001d7d8\U000e0001"
        ),
        st.characters(exclude_categories=["Cs"]),
    ),
    max_size=60,
)
TEXTS = st.lists(HOSTILE, max_size=6)


@pytest.mark.parametrize(
    ("flag", "pattern"),
    [
        (characters.LETTER, r"\p{L}"),
        (characters.MARK, r"\p{M}"),
        (characters.NUMBER, r"\p{N}"),
        (characters.SPACE, r"\s"),
        (characters.WORD, r"\w"),
        (characters.PUNCTUATION, r"[\p{P}\p{S}&&\p{ASCII}]|\p{P}"),
        (characters.SENTENCE_END, r"\p{STerm}"),
    ],
)
def test_the_table_agrees_with_polars(flag, pattern):
    """But for code points that a later Unicode may have assigned."""
    codes = [code for code in range(CODE_POINTS) if unicodedata.category(chr(code)) not in ("Cn", "Cs")]
    column = pl.Series([chr(code) for code in codes])
    expected = column.str.contains(f"^(?:{pattern})$").to_numpy()
    assert np.array_equal((character_table()[codes] & flag) > 0, expected)


def test_emoji_are_flagged():
    assert all(character_table()[ord(character)] & characters.EMOJI for character in "😀🏽🇩⌚❤")
    assert not any(character_table()[ord(character)] & characters.EMOJI for character in "a1#*©®™\u200d")


@settings(max_examples=100, deadline=None)
@given(TEXTS)
def test_pieces_are_what_the_expression_finds(texts):
    column = pl.Series(texts, dtype=pl.String)
    expected = column.str.extract_all(r"\w+|[^\w\s]+").to_list()
    assert [pieces_of(text) for text in texts] == expected
    hashes, _, _, bounds = pieces(to_texts(column))
    assert np.diff(bounds).tolist() == [len(found) for found in expected]
    flat = [word for found in expected for word in found]
    assert len(set(hashes.tolist())) == len(set(flat))
    assert len(set(zip(hashes.tolist(), flat, strict=True))) == len(set(flat))


@settings(max_examples=100, deadline=None)
@given(TEXTS)
def test_runs_without_white_space(texts):
    column = pl.Series(texts, dtype=pl.String)
    expected = column.str.extract_all(r"\S+").to_list()
    found = spaced_words(to_texts(column))
    assert np.diff(found.bounds).tolist() == [len(runs) for runs in expected]
    flat = [run for runs in expected for run in runs]
    assert found.characters.tolist() == [len(run) for run in flat]
    assert len(set(zip(found.hashes.tolist(), flat, strict=True))) == len(set(flat)) == len(set(found.hashes.tolist()))


# As spaCy 3.8 cuts them.
ENGLISH = [
    (
        "The council (five members) met, it seems, on Monday.",
        "The council ( five members ) met , it seems , on Monday .",
    ),
    ("\"It didn't come,\" she'd said; he won't.", "\" It did n't come , \" she 'd said ; he wo n't ."),
    ("Mrs. Lee's office, the Lees' house", "Mrs. Lee 's office , the Lees ' house"),
    ("at 5km, 20% of $3.50 or 7.5 m/s", "at 5 km , 20 % of $ 3.50 or 7.5 m / s"),
    ("at 10K (40m), 1990s or 20th: G8", "at 10 K ( 40 m ) , 1990s or 20th : G8"),
    ("a well-known state-of-the-art and/or", "a well - known state - of - the - art and/or"),
    ("Wait... what?! No…", "Wait ... what ? ! No …"),
    (
        "see https://example.com/a-b?c=d, or mail a.b@example.com.",
        "see https://example.com/a-b?c=d , or mail a.b@example.com .",
    ),
    ("the end.Next one", "the end . Next one"),
    ("from 1990-2000, e.g. in the U.S. of old", "from 1990 - 2000 , e.g. in the U.S. of old"),
    ("# Heading\n* item_one [link](there)", "# Heading * item_one [ link](there )"),
]


@pytest.mark.parametrize(("text", "expected"), ENGLISH)
def test_words_of_english(text, expected):
    found, wanted = english_words(to_texts(pl.Series([text]))), spaced_words(to_texts(pl.Series([expected])))
    assert (found.characters.tolist(), found.hashes.tolist()) == (wanted.characters.tolist(), wanted.hashes.tolist())


@settings(max_examples=100, deadline=None)
@given(TEXTS)
def test_english_words_hold_every_character_but_white_space(texts):
    found = english_words(to_texts(pl.Series(texts, dtype=pl.String)))
    runs = spaced_words(to_texts(pl.Series(texts, dtype=pl.String)))
    ends, run_ends = np.append(0, found.characters.cumsum()), np.append(0, runs.characters.cumsum())
    assert ends[found.bounds].tolist() == run_ends[runs.bounds].tolist()
    assert set(run_ends) <= set(ends)


@given(TEXTS)
def test_buffers_and_back(texts):
    column = pl.Series("text", texts, dtype=pl.String)
    assert from_texts("text", *to_texts(column)).equals(column)


def test_hashes_are_the_same_everywhere():
    hashes = pieces(to_texts(pl.Series(["one, deux"]))).hashes
    assert [f"{value:016x}" for value in hashes.tolist()] == [
        "ae4a1dc52a4cb183",
        "76a76a9fb0dee875",
        "32d17f59519a385d",
    ]


def test_nulls_are_refused():
    with pytest.raises(ValueError, match="nulls"):
        to_texts(pl.Series("text", ["a", None]))
