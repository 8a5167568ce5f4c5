import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_core.errors import PedigreeError
from llm_core.tokens.shard_file import HEADER_BYTES, open_shard, read_header, write_shard

DIGEST = "000102030405060708090a0b0c0d0e0f"


def write(path, ids, dtype="uint16", vocab_size=1000):
    write_shard(path, np.array(ids, dtype=np.int64), dtype=dtype, vocab_size=vocab_size, tokenizer=DIGEST)
    return path


@settings(max_examples=30, deadline=None)
@given(ids=st.lists(st.integers(0, 65_535), max_size=50), dtype=st.sampled_from(["uint16", "uint32"]))
def test_what_is_written_comes_back(tmp_path_factory, ids, dtype):
    path = write(tmp_path_factory.mktemp("shard") / "a.bin", ids, dtype, 65_536)
    header, tokens = open_shard(path)
    assert tokens.tolist() == ids
    assert (header.tokens, header.vocab_size, header.tokenizer) == (len(ids), 65_536, DIGEST)
    assert header.dtype == tokens.dtype == np.dtype(dtype).newbyteorder("<")
    assert path.stat().st_size == HEADER_BYTES + len(ids) * header.dtype.itemsize
    assert read_header(path) == header


def test_the_layout_is_the_documented_one(tmp_path):
    whole = write(tmp_path / "a.bin", [1, 258]).read_bytes()
    head = b"PEDSHARD" + bytes([1, 0, 0, 0, 2, 0, 0, 0, 2, *[0] * 7, 0xE8, 3, *[0] * 6, *range(16), *[0] * 16])
    assert whole == head + bytes([1, 0, 2, 1])


def test_the_map_is_read_only(tmp_path):
    _, tokens = open_shard(write(tmp_path / "a.bin", [1, 2]))
    with pytest.raises(ValueError, match="read-only"):
        tokens[0] = 5


@pytest.mark.parametrize("ids", [[1000], [5, -1]])
def test_ids_outside_the_vocabulary_are_not_written(tmp_path, ids):
    with pytest.raises(PedigreeError, match=r"a\.bin: the token id (1000|-1) is not in the vocabulary of 1000"):
        write(tmp_path / "a.bin", ids)
    assert not (tmp_path / "a.bin").exists()


def test_a_dtype_must_hold_the_vocabulary(tmp_path):
    with pytest.raises(ValueError, match="uint16"):
        write(tmp_path / "a.bin", [1], vocab_size=65_537)
    with pytest.raises(ValueError, match="int32"):
        write(tmp_path / "a.bin", [1], dtype="int32")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda whole: whole[:-1], "has 67 bytes instead of 68"),
        (lambda whole: whole + b"\0\0", "has 70 bytes instead of 68"),
        (lambda whole: whole[:40], "not a token shard"),
        (lambda whole: b"", "not a token shard"),
        (lambda whole: b"X" + whole[1:], "not a token shard"),
        (lambda whole: whole[:8] + b"\2" + whole[9:], "version 2"),
        (lambda whole: whole[:12] + b"\3" + whole[13:], "ids of 3 bytes"),
        (lambda whole: whole[:16] + b"\3" + whole[17:], "says 3 tokens"),
    ],
)
def test_damage_is_named(tmp_path, damage, message):
    path = write(tmp_path / "a.bin", [1, 2])
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(PedigreeError, match=r"a\.bin: .*" + message):
        open_shard(path)


def test_a_missing_shard_is_named(tmp_path):
    with pytest.raises(PedigreeError, match=r"a\.bin: the shard is missing"):
        read_header(tmp_path / "a.bin")
    with pytest.raises(PedigreeError, match="can't be read"):
        read_header(tmp_path)
