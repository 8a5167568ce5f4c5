import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_core.errors import PedigreeError
from llm_core.tokens.loader import Loader, ShardReader
from tests.tokens.shard_folder import write_shards

LENGTHS = st.lists(st.integers(1, 40), min_size=1, max_size=30)


@settings(max_examples=30, deadline=None)
@given(
    lengths=LENGTHS,
    tokens_per_shard=st.integers(1, 200),
    sequence_length=st.integers(1, 20),
    batch_size=st.integers(1, 17),
    world_size=st.integers(1, 5),
    epochs=st.integers(1, 3),
)
def test_every_window_is_served_once_an_epoch(
    tmp_path_factory, lengths, tokens_per_shard, sequence_length, batch_size, world_size, epochs
):
    folder = tmp_path_factory.mktemp("shards")
    stream = write_shards(folder, lengths, tokens_per_shard)
    if len(stream) <= sequence_length:
        with pytest.raises(PedigreeError, match="tokens"):
            Loader(ShardReader(folder, "train"), sequence_length, batch_size, 1)
        return
    documents = np.repeat(np.arange(len(lengths)), lengths)
    served: list[int] = []
    windows = (len(stream) - 1) // sequence_length
    for step in range(-(-epochs * windows // batch_size)):
        loader = Loader(ShardReader(folder, "train"), sequence_length, batch_size, 1)  # a restart at every step
        parts = [loader.batch(step, rank, world_size) for rank in range(world_size)]
        rows = [None] * batch_size
        for rank, part in enumerate(parts):
            rows[rank::world_size] = list(zip(*part, strict=True))
        assert loader.windows == windows
        for index, (start, stop), (inputs, targets, ids) in zip(
            loader.window_indices(step), loader.ranges(step), rows, strict=True
        ):
            assert (start, stop) == (index * sequence_length, (index + 1) * sequence_length + 1)
            assert inputs.tolist() == stream[start : stop - 1].tolist()
            assert targets.tolist() == stream[start + 1 : stop].tolist()
            assert ids.tolist() == documents[start : stop - 1].tolist()
            served.append(int(index))
    for epoch in range(epochs):
        assert sorted(served[epoch * windows : (epoch + 1) * windows]) == list(range(windows))


@settings(max_examples=60, deadline=None)
@given(lengths=LENGTHS, tokens_per_shard=st.integers(1, 100), data=st.data())
def test_reading_crosses_shards(tmp_path_factory, lengths, tokens_per_shard, data):
    folder = tmp_path_factory.mktemp("shards")
    stream = write_shards(folder, lengths, tokens_per_shard, dtype="uint32")
    reader = ShardReader(folder, "train")
    start = data.draw(st.integers(0, len(stream)))
    stop = data.draw(st.integers(start, len(stream)))
    assert reader.read(start, stop).tolist() == stream[start:stop].tolist()
    assert reader.document_ids(start, stop).tolist() == np.repeat(np.arange(len(lengths)), lengths)[start:stop].tolist()
    assert reader.read(start, stop).dtype == reader.document_ids(start, stop).dtype == np.int64


def test_what_a_reader_knows(tmp_path):
    write_shards(tmp_path, [5, 6, 7], 4)
    reader = ShardReader(tmp_path, "train")
    assert (reader.tokens, reader.documents, reader.vocab_size, reader.eot) == (18, 3, 50_000, 0)
    with pytest.raises(ValueError, match="outside"):
        reader.read(3, 19)
    with pytest.raises(PedigreeError, match="no split 'test'; known: train"):
        ShardReader(tmp_path, "test")


def test_more_ranks_than_rows_leaves_some_without(tmp_path):
    write_shards(tmp_path, [50])
    loader = Loader(ShardReader(tmp_path, "train"), 5, 2, 0)
    assert loader.batch(0, rank=2, world_size=3).inputs_BT.shape == (0, 5)
    with pytest.raises(ValueError, match="rank 3"):
        loader.batch(0, rank=3, world_size=3)


def test_damage_is_named(tmp_path):
    write_shards(tmp_path, [30, 40], 50)
    shard = tmp_path / "train" / "00001.bin"
    whole = shard.read_bytes()

    shard.write_bytes(whole[:-1])
    with pytest.raises(PedigreeError, match=r"00001\.bin: the shard has 39 bytes instead of 40"):
        ShardReader(tmp_path, "train")
    shard.unlink()
    with pytest.raises(PedigreeError, match=r"00001\.bin: the shard is missing"):
        ShardReader(tmp_path, "train")

    shard.write_bytes(whole[:5] + b"\xff" + whole[6:])
    loader = Loader(ShardReader(tmp_path, "train"), 3, 23, 0)
    with pytest.raises(PedigreeError, match=r"00001\.bin: holds the token id 65\d\d\d, but the vocabulary has 50000"):
        loader.batch(0)
    shard.write_bytes(whole)

    documents = tmp_path / "train" / "documents.npy"
    offsets = documents.read_bytes()
    documents.write_bytes(offsets[:-3])
    with pytest.raises(PedigreeError, match=r"documents\.npy: not a whole array"):
        ShardReader(tmp_path, "train")
    np.save(documents, np.array([0, 30, 69]))
    with pytest.raises(PedigreeError, match=r"documents\.npy: does not hold 2 documents of 70 tokens"):
        ShardReader(tmp_path, "train")
    documents.unlink()
    with pytest.raises(PedigreeError, match=r"documents\.npy: there is no such file"):
        ShardReader(tmp_path, "train")
    documents.write_bytes(offsets)

    index = tmp_path / "shards.json"
    text = index.read_text()
    changed = json.loads(text)
    changed["splits"]["train"]["tokens"] = 71
    index.write_text(json.dumps(changed))
    with pytest.raises(PedigreeError, match=r"shards\.json: the shards of train hold 70 tokens"):
        ShardReader(tmp_path, "train")
    index.write_text(text[:-5])
    with pytest.raises(PedigreeError, match=r"shards\.json: not a list"):
        ShardReader(tmp_path, "train")
    index.unlink()
    with pytest.raises(PedigreeError, match=r"shards\.json: there is no such file"):
        ShardReader(tmp_path, "train")
