from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_core.errors import PedigreeError
from llm_core.tokens.mixture import CYCLE, Mixture, quotas

WEIGHTS = st.lists(st.floats(0.05, 10), min_size=1, max_size=6)


def mixture(weights, seed=3):
    return Mixture([f"s{number}" for number in range(len(weights))], weights, seed)


@given(weights=WEIGHTS)
def test_quotas_are_within_one_of_the_weights(weights):
    found = quotas(weights)
    assert sum(found) == CYCLE
    assert all(abs(n - w / sum(weights) * CYCLE) < 1 for n, w in zip(found, weights, strict=True))


def test_equal_remainders_go_to_the_first():
    assert quotas([1, 1, 1]) == (342, 341, 341)


@settings(max_examples=30, deadline=None)
@given(weights=WEIGHTS, seed=st.integers(0, 9), cuts=st.lists(st.integers(0, 3 * CYCLE), max_size=5))
def test_every_source_runs_through_its_own_positions_in_order(weights, seed, cuts):
    mixed, total = mixture(weights, seed), 3 * CYCLE
    borders = [0, *sorted(cuts), total]
    parts = [mixed.split(np.arange(a, b)) for a, b in pairwise(borders)]
    sources, own = (np.concatenate(column) for column in zip(*parts, strict=True))
    for source, share in enumerate(mixed.shares):
        assert own[sources == source].tolist() == list(range(3 * share))
        assert mixed.join(source, np.arange(3 * share)).tolist() == np.flatnonzero(sources == source).tolist()
    for stop in borders:
        assert mixed.counts(stop) == np.bincount(sources[:stop], minlength=len(weights)).tolist()


def test_cycles_and_seeds_differ():
    sources, _ = mixture([1, 1]).split(np.arange(2 * CYCLE))
    other, _ = mixture([1, 1], seed=4).split(np.arange(CYCLE))
    assert len({tuple(part) for part in (sources[:CYCLE], sources[CYCLE:], other)}) == 3


def test_a_weight_too_small_for_a_place_is_refused():
    with pytest.raises(PedigreeError, match="s1: less than 1 of 1024 sequences"):
        mixture([1, 1e-5])
