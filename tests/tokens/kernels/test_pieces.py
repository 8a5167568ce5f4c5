from collections import Counter
from itertools import pairwise

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Regex, pre_tokenizers

from llm_core.data.kernels.buffers import to_texts
from llm_core.tokens.kernels.pieces import STYLES, PieceCounts
from llm_core.tokens.patterns import PATTERNS
from tests.tokens.hostile import hostile_sample, hostile_texts


def counted(pattern, *batches, room=4):
    counts = PieceCounts(pattern, room)
    for batch in batches:
        counts.add(to_texts(pl.Series(batch, dtype=pl.String)))
    data, starts, found = counts.pieces()
    pieces = [data[start:stop].tobytes().decode() for start, stop in pairwise(starts)]
    assert len(set(pieces)) == len(pieces)
    return dict(zip(pieces, found.tolist(), strict=True))


def expected(pattern, texts):
    split = pre_tokenizers.Split(Regex(PATTERNS[pattern]), behavior="isolated")
    return Counter(piece for text in texts for piece, _ in split.pre_tokenize_str(text))


def test_every_pattern_has_its_kernel():
    assert STYLES.keys() == PATTERNS.keys()


@pytest.mark.parametrize("pattern", PATTERNS)
@settings(max_examples=50, deadline=None)
@given(texts=st.lists(hostile_texts(), max_size=5))
def test_texts_are_cut_as_the_regular_expression_cuts_them(pattern, texts):
    assert counted(pattern, texts) == expected(pattern, texts)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_many_texts_in_batches(pattern):
    texts = hostile_sample(3000, seed=5)
    assert counted(pattern, texts[:1000], [], texts[1000:]) == expected(pattern, texts)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_every_character_is_what_the_regular_expression_takes_it_for(pattern):
    """But for those of Unicode 17 and private ones, which nobody takes for letters."""
    points = [chr(point) for point in (*range(0xD800), *range(0xE000, 0x20000, 3), *range(0x30000, 0x34000, 7))]
    texts = [
        "".join(f"a{point}b {point}1{point}" for point in points[start : start + 500])
        for start in range(0, len(points), 500)
    ]
    assert counted(pattern, texts, room=1 << 16) == expected(pattern, texts)
