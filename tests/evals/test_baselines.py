import lzma
import math

import numpy as np
import pytest

from llm_core.evals.baselines import overlap, overlap_pick, token_counts, trigrams, unigram_bits, xz_bits
from llm_core.tokens.reader import ShardReader
from tests.evals.conftest import World


def test_unigram_by_hand() -> None:
    # Counts 3, 1, 0 with one added to each: probabilities 4/7, 2/7, 1/7.
    bits = unigram_bits(np.array([3, 1, 0]), [[0, 0, 1], [2], []])
    assert bits == pytest.approx([-2 * math.log2(4 / 7) - math.log2(2 / 7), -math.log2(1 / 7), 0.0])


def test_counts_are_those_of_the_shards(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llm_core.evals.baselines.CHUNK", 97)
    counts = token_counts(ShardReader(world.folder / "shards", "train"))
    assert counts.tolist() == [world.train_ids.count(token) for token in range(world.tokenizer.get_vocab_size())]


def test_xz_is_the_size_of_the_real_file() -> None:
    texts = ["eins zwei drei ", "λ" * 50]
    assert xz_bits(texts) == 8 * len(lzma.compress("".join(texts).encode(), preset=9 | lzma.PRESET_EXTREME))
    assert xz_bits(["a" * 10_000]) < 8 * 200


def test_overlap_by_hand() -> None:
    assert trigrams("abab") == {"aba", "bab"}
    assert overlap(trigrams("abcd"), trigrams("bcde")) == 0.5  # bcd, but not cde
    assert overlap(trigrams("abcd"), trigrams("")) == 0.0
    assert overlap_pick("the list of values", [" in a module", " of the list", " raises"]) == 1
