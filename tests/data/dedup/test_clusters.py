import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_core.data.dedup.clusters import find_clusters, first_of_equals, least_equal
from llm_core.data.dedup.signatures import PAIR, signature_dtype, write_signatures
from llm_core.experiment.dedup import DedupSpec, MinHashSpec

SPEC = DedupSpec(minhash=MinHashSpec(bands=4, rows=2, min_similarity=0.5))


def rows_of(numbers, keys=None):
    rows = np.zeros(len(numbers), dtype=signature_dtype(np.shape(numbers)[1] if len(numbers) else 8))
    rows["key"]["low"] = np.arange(len(numbers)) if keys is None else keys
    rows["shingles"] = 1
    rows["minhash"] = np.array(numbers).reshape(rows["minhash"].shape)
    return rows


def clusters_of(folder, rows, order=None, spec=SPEC, cuts=()):
    paths = []
    for number, piece in enumerate(np.split(rows, cuts)):
        paths.append(folder / f"{number}.npy")
        write_signatures(paths[-1], piece)
    return find_clusters(paths, np.arange(len(rows)) if order is None else order, spec, folder / "scratch")


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_every_document_is_like_the_one_that_stays(tmp_path_factory, data):
    """In whatever order they are ranked, and in whatever parts they come; equal texts are in one cluster."""
    count = data.draw(st.integers(1, 14))
    numbers = np.array(
        data.draw(st.lists(st.lists(st.integers(0, 2), min_size=8, max_size=8), min_size=count, max_size=count))
    )
    keys = data.draw(st.lists(st.integers(0, 12), min_size=count, max_size=count))
    for place, key in enumerate(keys):  # equal texts have equal signatures
        numbers[place] = numbers[keys.index(key)]
    order = np.array(data.draw(st.permutations(range(count))))
    cut = data.draw(st.integers(0, count))
    found = clusters_of(tmp_path_factory.mktemp("clusters"), rows_of(numbers, keys), order, cuts=(cut,))
    ranked_numbers, ranked_keys = numbers[order], np.array(keys)[order]
    equal = (ranked_numbers == ranked_numbers[found.representative]).sum(axis=1)
    assert (found.representative[found.representative] == found.representative).all()
    assert (found.representative <= np.arange(count)).all()
    assert (equal >= least_equal(SPEC.minhash)).all()
    assert found.similarity.tolist() == (equal / 8).tolist()
    assert found.exact.tolist() == (ranked_keys == ranked_keys[found.representative]).tolist()
    for key in set(keys):
        assert len(set(found.representative[ranked_keys == key])) == 1


def test_a_pair_below_the_similarity_stays_apart(tmp_path):
    numbers = [[1, 2, 3, 4, 5, 6, 7, 8], [1, 2, 3, 4, 0, 0, 0, 0], [1, 2, 3, 9, 9, 9, 9, 9], [0, 2, 0, 4, 5, 0, 7, 0]]
    found = clusters_of(tmp_path, rows_of(numbers))
    assert found.representative.tolist() == [
        0,
        0,
        2,
        3,
    ]  # the third is too unlike; the fourth is like the first, but shares no band


def test_the_root_must_be_alike_too(tmp_path):
    """The second is like the first, the third like the second only: it stays, and its own twin goes with it."""
    first = [1, 2, 3, 4, 5, 6, 7, 8]
    second = [1, 2, 3, 4, 5, 6, 0, 0]
    third = [0, 0, 3, 4, 5, 6, 0, 0]
    last = [0, 0, 9, 9, 5, 6, 0, 0]
    spec = DedupSpec(minhash=MinHashSpec(bands=4, rows=2, min_similarity=0.6))
    found = clusters_of(tmp_path, rows_of([first, second, third, last]), spec=spec)
    assert found.representative.tolist() == [0, 0, 2, 2]
    assert found.similarity.tolist() == [1.0, 0.75, 1.0, 0.75]


def test_documents_too_short_for_a_shingle_are_no_near_duplicates(tmp_path):
    rows = rows_of([[0xFFFFFFFF] * 8] * 3, keys=[1, 2, 1])
    rows["shingles"] = 0
    assert clusters_of(tmp_path, rows).representative.tolist() == [0, 1, 0]


def test_a_run_of_unlike_documents_takes_linear_time(tmp_path):
    """100,000 documents share a band, and are unlike otherwise."""
    chance = np.random.default_rng(3)
    numbers = chance.integers(0, 1 << 32, (100_000, 8), dtype=np.uint32)
    numbers[:, :2] = 7
    found = clusters_of(tmp_path, rows_of(numbers))
    assert (found.representative == np.arange(100_000)).all()


def test_memory_is_bounded_by_the_number_of_documents(tmp_path):
    """The figure that the documentation states; signatures themselves are in mapped files."""
    count, spec = 60_000, DedupSpec()
    rows = np.zeros(count, dtype=signature_dtype(112))
    rows["key"]["low"] = np.arange(count)
    rows["shingles"] = 1
    rows["minhash"] = np.random.default_rng(1).integers(0, 1 << 32, (count, 112), dtype=np.uint32)
    cuts = range(6_000, count, 6_000)
    tracemalloc.start()
    clusters_of(tmp_path, rows, spec=spec, cuts=cuts)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak / count < 150 + 6_000 * 1200 / count  # and one part


@pytest.mark.parametrize("count", [0, 1, 500])
def test_first_of_equals(count):
    pairs = np.zeros(count, dtype=PAIR)
    chance = np.random.default_rng(2)
    pairs["high"], pairs["low"] = chance.integers(0, 5, count), chance.integers(0, 5, count)
    values = pairs.tolist()
    assert first_of_equals(pairs).tolist() == [values.index(value) for value in values]
