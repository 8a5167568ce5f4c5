import gzip
import io
from unittest import mock

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from llm_core.data.sources import streams
from llm_core.data.sources.streams import DamagedError, open_stream, read_lines

CONTENT = bytes(range(256)) * 4000
PACK = {".gz": gzip.compress, ".zst": lambda content: zstandard.ZstdCompressor(write_checksum=True).compress(content)}


@pytest.mark.parametrize("suffix", PACK)
def test_several_frames_are_one_stream(tmp_path, suffix):
    path = tmp_path / f"x.jsonl{suffix}"
    path.write_bytes(PACK[suffix](CONTENT) + PACK[suffix](b"") + PACK[suffix](b"end"))
    with open_stream(path) as stream:
        assert stream.read() == CONTENT + b"end"


def test_a_window_of_any_size_is_read(tmp_path):
    path = tmp_path / "x.zst"
    parameters = zstandard.ZstdCompressionParameters(window_log=28, enable_ldm=True, compression_level=1)
    packer = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    path.write_bytes(packer.compress(CONTENT) + packer.flush())
    assert zstandard.get_frame_parameters(path.read_bytes()).window_size > 1 << 27
    with open_stream(path) as stream:
        assert stream.read() == CONTENT


@pytest.mark.parametrize("suffix", PACK)
@pytest.mark.parametrize("frames", [1, 2])
@pytest.mark.parametrize("lost", [1, 10, 1500])
def test_a_cut_file_is_never_a_short_one(tmp_path, suffix, frames, lost):
    path = tmp_path / f"x{suffix}"
    path.write_bytes((PACK[suffix](CONTENT) * frames)[:-lost])
    with open_stream(path) as stream, pytest.raises(DamagedError, match="in the middle"):
        stream.read()


@pytest.mark.parametrize("suffix", PACK)
def test_an_empty_compressed_file_is_a_cut_one(tmp_path, suffix):
    path = tmp_path / f"x{suffix}"
    path.touch()
    with open_stream(path) as stream, pytest.raises(DamagedError):
        stream.read()


@pytest.mark.parametrize("suffix", PACK)
def test_changed_bytes_are_noticed(tmp_path, suffix):
    path = tmp_path / f"x{suffix}"
    packed = bytearray(PACK[suffix](CONTENT))
    packed[len(packed) // 2] ^= 0xFF
    path.write_bytes(packed)
    with open_stream(path) as stream, pytest.raises(DamagedError) as caught:
        stream.read()
    assert 0 <= caught.value.position <= len(packed)
    path.write_bytes(b"not compressed at all")
    with open_stream(path) as stream, pytest.raises(DamagedError):
        stream.read()


@given(
    content=st.binary(max_size=300).map(lambda raw: raw.replace(b"x", b"\n")),
    limit=st.integers(1, 40),
    block=st.integers(1, 90),
)
def test_lines_are_split_and_long_ones_skipped(content, limit, block):
    expected = content.split(b"\n")
    if expected[-1] == b"":
        expected.pop()
    with mock.patch.object(streams, "_BLOCK", block):
        found = list(read_lines(io.BytesIO(content), limit))
    assert [whole for _, whole in found] == [len(line) <= limit for line in expected]
    for (line, whole), true in zip(found, expected, strict=True):
        assert line == true.rstrip(b"\r") if whole else true.startswith(line)
