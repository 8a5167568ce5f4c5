import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_core.data.dedup.signatures import doc_id_numbers, doc_id_texts, keys
from llm_core.data.kernels.folding import fold
from llm_core.data.kernels.minhash import permutations, signatures
from llm_core.data.kernels.words import hash_bytes, mix

WORDS = st.lists(st.sampled_from(["a", "bb", "c", "é", "文字", "123"]), max_size=12).map(" ".join)


def naive(text, count, size):
    """The same from Python's sets and integers: least values of all permutations of the hashed shingles."""
    words = [int(hash_bytes(np.frombuffer(word.encode(), np.uint8), 0, len(word.encode()))) for word in text.split()]
    shingles = set()
    for start in range(len(words) - size + 1):
        rolled = 0
        for word in words[start : start + size]:
            rolled = (rolled * 0xD1342543DE82EF95 + word) % 2**64
        shingles.add(int(mix(np.uint64(rolled))) >> 32)
    pairs = zip(*(numbers.tolist() for numbers in permutations(count)), strict=True)
    return [min(((factor * x + summand) % 2**32 for x in shingles), default=2**32 - 1) for factor, summand in pairs]


@settings(max_examples=60, deadline=None)
@given(st.lists(WORDS, max_size=5), st.integers(1, 6))
def test_the_kernel_agrees_with_sets(texts, size):
    folded = fold(pl.Series("text", texts, dtype=pl.String))
    found, counts = signatures(folded, 12, size)
    assert found.tolist() == [naive(text, 12, size) for text in pl.Series(texts, dtype=pl.String).str.normalize("NFKD")]
    assert counts.tolist() == [max(0, len(text.split()) - size + 1) for text in texts]


@pytest.mark.parametrize("similarity", [0.3, 0.5, 0.8, 0.95])
def test_equal_numbers_estimate_jaccard(similarity):
    """Without bias, and as far off as 112 independent permutations would be."""
    chance = np.random.default_rng(7)
    texts = []
    for _ in range(400):
        words = [f"w{number}" for number in chance.integers(0, 1 << 40, 200)]
        both = round(200 * similarity)
        rest = both + (200 - both) // 2
        texts += [" ".join(words[:rest]), " ".join(words[:both] + words[rest:])]
    found, _ = signatures(fold(pl.Series(texts)), 112, 1)
    estimates = (found[::2] == found[1::2]).mean(axis=1)
    spread = np.sqrt(similarity * (1 - similarity) / 112)
    assert estimates.mean() == pytest.approx(similarity, abs=4 * spread / np.sqrt(400) + 0.003)
    assert estimates.std() == pytest.approx(spread, rel=0.15)


def test_permutations_are_bijections_and_stay():
    factors, summands = permutations(112)
    assert (factors % 2 == 1).all()
    assert len(set(zip(factors.tolist(), summands.tolist(), strict=True))) == 112
    again = permutations(200)
    assert (again[0][:112] == factors).all()
    assert (again[1][:112] == summands).all()


def test_keys_follow_the_folded_text():
    found = keys(fold(pl.Series(["Straße", "STRASSE!", "other", "", "..."]))).tolist()
    assert found[0] == found[1]
    assert len(set(found)) == 4


def test_identities_there_and_back():
    doc_ids = ["0" * 32, "00ff" * 8, "123456789abcdef0" * 2]
    assert doc_id_texts(doc_id_numbers(pl.Series(doc_ids))) == doc_ids
    assert doc_id_texts(doc_id_numbers(pl.Series([], dtype=pl.String))) == []
