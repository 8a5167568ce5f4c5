import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_core.errors import PedigreeError
from llm_core.tokens.reader import ShardReader
from llm_core.tokens.shard_file import HEADER_BYTES
from tests.tokens.shard_folder import TOKENIZER, VOCABULARY, write_shards

LENGTHS = st.lists(st.integers(1, 40), min_size=1, max_size=30)


@settings(max_examples=60, deadline=None)
@given(lengths=LENGTHS, tokens_per_shard=st.integers(1, 100), data=st.data())
def test_spans_cross_shards_and_begin_with_an_end_of_text(tmp_path_factory, lengths, tokens_per_shard, data):
    folder = tmp_path_factory.mktemp("shards")
    stream = write_shards(folder, lengths, tokens_per_shard, dtype="uint32")
    reader = ShardReader(folder, "train")
    spans = st.integers(-1, len(stream)).flatmap(lambda a: st.tuples(st.just(a), st.integers(a, len(stream))))
    chosen = data.draw(st.lists(spans, max_size=6))
    starts, stops = np.array(chosen, dtype=np.int64).reshape(-1, 2).T
    preceded = np.concatenate([[reader.eot], stream])
    expected = [token for start, stop in chosen for token in preceded[start + 1 : stop + 1].tolist()]
    assert reader.spans(starts, stops - starts).tolist() == expected
    chosen = [(start, stop) for start, stop in chosen if 0 <= start < stop]
    starts, stops = np.array(chosen, dtype=np.int64).reshape(-1, 2).T
    borders = [(n, e - a) for n, (a, b) in enumerate(chosen) for e in np.cumsum(lengths[:-1]).tolist() if a < e < b]
    assert [tuple(pair) for pair in np.transpose(reader.borders(starts, stops - starts)).tolist()] == borders


def test_what_a_reader_knows(tmp_path):
    stream = write_shards(tmp_path, {"a": [5, 6], "b": [7], "c": [1, 1, 9]}, 4)
    reader = ShardReader(tmp_path, "train")
    assert (reader.tokens, reader.documents, reader.vocab_size, reader.eot) == (29, 6, VOCABULARY, 0)
    assert (reader.tokenizer, reader.name) == (TOKENIZER, "train")
    assert reader.read(3, 27).tolist() == stream[3:27].tolist()
    assert reader.begins_document(np.array([0, 1, 5, 18, 19, 20])).tolist() == [1, 0, 1, 1, 1, 1]
    with pytest.raises(ValueError, match="outside"):
        reader.read(3, 30)
    with pytest.raises(PedigreeError, match="no split 'test'; known: train"):
        ShardReader(tmp_path, "test")


def test_a_source_is_read_alone(tmp_path):
    stream = write_shards(tmp_path, {"a": [5, 6], "b": [7], "c": [1, 1, 9]}, 4)
    reader = ShardReader(tmp_path, "train", "c")
    assert (reader.start, reader.stop, reader.documents, reader.name) == (18, 29, 3, "c")
    assert reader.read(18, 29).tolist() == stream[18:].tolist()
    assert reader.offsets.tolist() == [18, 19, 20, 29]
    with pytest.raises(ValueError, match="outside"):
        reader.read(17, 20)
    with pytest.raises(PedigreeError, match="no source 'd'; known: a, b, c"):
        ShardReader(tmp_path, "train", "d")
    index = json.loads((tmp_path / "shards.json").read_text())
    index["splits"]["train"]["shards"][0]["source"] = "c"
    (tmp_path / "shards.json").write_text(json.dumps(index))
    with pytest.raises(PedigreeError, match="of source c are not next to each other"):
        ShardReader(tmp_path, "train", "c")


def test_a_shard_made_with_another_tokenizer_is_refused(tmp_path):
    write_shards(tmp_path / "ours", [30, 40], 50)
    write_shards(tmp_path / "theirs", [30, 40], 50, tokenizer="cd" * 16)
    (tmp_path / "ours/train/made-001.bin").write_bytes((tmp_path / "theirs/train/made-001.bin").read_bytes())
    with pytest.raises(PedigreeError, match=r"made-001\.bin: the shard was made with another tokenizer \(cdcd"):
        ShardReader(tmp_path / "ours", "train")


def test_damage_is_named(tmp_path):
    write_shards(tmp_path, [30, 40], 50)
    shard = tmp_path / "train" / "made-001.bin"
    whole = shard.read_bytes()

    shard.write_bytes(whole[:-1])
    with pytest.raises(PedigreeError, match=r"made-001\.bin: the shard has 103 bytes instead of 104"):
        ShardReader(tmp_path, "train")
    shard.unlink()
    with pytest.raises(PedigreeError, match=r"made-001\.bin: the shard is missing"):
        ShardReader(tmp_path, "train")

    at = HEADER_BYTES + 5
    shard.write_bytes(whole[:at] + b"\xff" + whole[at + 1 :])
    reader = ShardReader(tmp_path, "train")
    assert len(reader.read(0, 50)) == 50
    for start in (0, 51):
        with pytest.raises(PedigreeError, match=r"made-001\.bin: holds the token id 65\d\d\d, but .* has 50000"):
            reader.read(start, 70)
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
    for path, value, message in (
        (("tokens",), 71, "the shards of train hold 70 tokens"),
        (("shards", 1, "tokens"), 19, "the shards of train hold 69 tokens"),
    ):
        changed = json.loads(text)
        place = changed["splits"]["train"]
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value
        index.write_text(json.dumps(changed))
        with pytest.raises(PedigreeError, match=rf"shards\.json: {message}"):
            ShardReader(tmp_path, "train")
    index.write_text(text[:-5])
    with pytest.raises(PedigreeError, match=r"shards\.json: no valid list"):
        ShardReader(tmp_path, "train")
    index.unlink()
    with pytest.raises(PedigreeError, match=r"shards\.json: there is no such file"):
        ShardReader(tmp_path, "train")


@pytest.mark.parametrize(
    "lost", [("splits", "train", "tokens"), ("splits", "train", "shards", 0, "file"), ("splits", "train"), ("eot",)]
)
def test_a_table_of_contents_without_an_entry_is_refused(tmp_path, lost):
    write_shards(tmp_path, [30, 40], 50)
    index = json.loads((tmp_path / "shards.json").read_text())
    place = index
    for name in lost[:-1]:
        place = place[name]
    del place[lost[-1]]
    (tmp_path / "shards.json").write_text(json.dumps(index))
    with pytest.raises(PedigreeError, match=r"shards\.json: (no valid list of shards|there is no split 'train')"):
        ShardReader(tmp_path, "train")


def test_an_empty_file_of_offsets_is_refused(tmp_path):
    write_shards(tmp_path, [30, 40], 50)
    (tmp_path / "train" / "documents.npy").write_bytes(b"")
    with pytest.raises(PedigreeError, match=r"documents\.npy: not a whole array"):
        ShardReader(tmp_path, "train")
