import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_core.tokens.best_fit import best_fit
from llm_core.tokens.packing import BestFit, Concat, Pad, cropped
from llm_core.tokens.reader import ShardReader
from tests.tokens.shard_folder import write_shards

LENGTHS = st.lists(st.integers(1, 40), min_size=1, max_size=40)


def one_by_one(lengths, capacity):
    """Best-fit decreasing as its definition says it: how full the bins are, sorted."""
    rooms = []
    for length in sorted(lengths, reverse=True):
        fitting = [room for room in rooms if room >= length]
        if fitting:
            rooms.remove(min(fitting))
        rooms.append((min(fitting) if fitting else capacity) - length)
    return sorted(capacity - room for room in rooms)


@settings(max_examples=70, deadline=None)
@given(capacity=st.integers(1, 30), data=st.data())
def test_best_fit_is_what_the_definition_says(capacity, data):
    lengths = np.array(data.draw(st.lists(st.integers(1, capacity), max_size=60)), dtype=np.int64)
    bins, count = best_fit(lengths, capacity)
    assert sorted(np.bincount(bins, weights=lengths, minlength=count).tolist()) == one_by_one(lengths, capacity)


def test_documents_are_cropped():
    starts, lengths = cropped(np.array([10, 13, 20, 21, 27]), 3)
    assert list(zip(starts.tolist(), lengths.tolist(), strict=True)) == [
        (10, 3), (13, 3), (16, 3), (19, 1), (20, 1), (21, 3), (24, 3),
    ]  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(lengths=LENGTHS, length=st.integers(1, 20), kind=st.sampled_from([BestFit, Pad]))
def test_crops_and_padding_are_counted(tmp_path_factory, lengths, length, kind):
    folder = tmp_path_factory.mktemp("shards")
    write_shards(folder, lengths)
    packed = kind(ShardReader(folder, "train"), length)
    starts = packed.pieces(np.arange(packed.rows)).starts.tolist()
    continued = len(set(starts) - {0, *np.cumsum(lengths).tolist()})
    stats = packed.stats()
    assert (stats["crops"], stats["padding"]) == (continued, packed.rows * length - sum(lengths))


def test_padding_keeps_one_piece_a_row(tmp_path):
    write_shards(tmp_path, [3, 10, 1])
    assert Pad(ShardReader(tmp_path, "train"), 4).pieces(np.arange(5)).lengths.tolist() == [3, 4, 4, 2, 1]


def test_windows_leave_out_what_fills_none(tmp_path):
    write_shards(tmp_path, [3, 10, 1])
    packed = Concat(ShardReader(tmp_path, "train"), 4)
    assert packed.pieces(np.arange(packed.rows)).starts.tolist() == [0, 4, 8]
    assert packed.stats() == {"rows": 3, "dropped_tokens": 2}
    assert [packed.rows_with(a, b).tolist() for a, b in ((0, 4), (3, 5), (4, 4), (11, 14), (12, 14))] == [
        [0], [0, 1], [], [2], [],
    ]  # fmt: skip
