import bz2
import gzip
import io
import lzma
import random
import tracemalloc
from unittest import mock

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from llm_core.data.sources import streams, unpacking
from llm_core.data.sources.streams import open_stream, read_lines
from llm_core.data.sources.unpacking import DamagedError, ExpansionError, NeedsMoreError

CONTENT = random.Random(0).randbytes(2000) + bytes(range(256)) * 4000
PACK = {
    ".gz": gzip.compress,
    ".zst": lambda content: zstandard.ZstdCompressor(write_checksum=True).compress(content),
    ".xz": lzma.compress,
    ".bz2": bz2.compress,
}


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


@pytest.mark.parametrize("suffix", [".gz", ".xz", ".bz2"])
@pytest.mark.parametrize("zeros", [4, 1 << 18])
def test_zeros_after_the_last_member_are_no_data(tmp_path, suffix, zeros):
    path = tmp_path / f"x{suffix}"
    path.write_bytes(PACK[suffix](CONTENT) + bytes(zeros))
    with open_stream(path) as stream:
        assert stream.read() == CONTENT
    path.write_bytes(PACK[suffix](CONTENT) + bytes(zeros) + PACK[suffix](b"end"))
    with open_stream(path) as stream:
        assert stream.read() == CONTENT + b"end"
    path.write_bytes(PACK[suffix](CONTENT) + bytes(zeros) + b"garbage")
    with open_stream(path) as stream, pytest.raises(DamagedError):
        stream.read()
    for wrong in (bytes(zeros), bytes(zeros) + PACK[suffix](b"x")):
        path.write_bytes(wrong)
        with open_stream(path) as stream, pytest.raises(NeedsMoreError, match="not packed as its name says"):
            stream.read()


@pytest.mark.parametrize("suffix", PACK)
def test_a_file_that_is_not_what_its_name_says_is_told_as_such(tmp_path, suffix):
    path = tmp_path / f"x{suffix}"
    for wrong in (
        b'{"text": "plain"}',
        b"PK\x03\x04",
        *(pack(CONTENT) for other, pack in PACK.items() if other != suffix),
    ):
        path.write_bytes(wrong)
        with open_stream(path) as stream, pytest.raises(NeedsMoreError, match=rf"its name says \({suffix}\); give it"):
            stream.read()


def test_frames_to_be_skipped_are_no_data(tmp_path):
    path, skipped = tmp_path / "x.zst", b"\x50\x2a\x4d\x18\x03\0\0\0abc"
    path.write_bytes(skipped + PACK[".zst"](CONTENT) + skipped + PACK[".zst"](b"end") + skipped)
    with open_stream(path) as stream:
        assert stream.read() == CONTENT + b"end"


@pytest.mark.parametrize("suffix", [".xz", ".bz2"])
def test_a_bomb_takes_bounded_memory(tmp_path, suffix):
    """200 MB of zeros; what Python holds of it stays small, whether it is refused or read."""
    path = tmp_path / f"x{suffix}"
    packer = lzma.LZMACompressor(preset=1) if suffix == ".xz" else bz2.BZ2Compressor()
    with path.open("wb") as file:
        for _ in range(20):
            file.write(packer.compress(bytes(10_000_000)))
        file.write(packer.flush())
    assert path.stat().st_size < 100_000

    def unpacked(max_expansion: int) -> int:
        with open_stream(path, max_expansion) as stream:
            return sum(len(block) for block in iter(lambda: stream.read(1 << 20), b""))

    tracemalloc.start()
    try:
        with pytest.raises(ExpansionError, match="unpack to"):
            unpacked(100)
        assert unpacked(10_000_000) == 200_000_000
        assert tracemalloc.get_traced_memory()[1] < 20 << 20
    finally:
        tracemalloc.stop()


def test_a_frame_that_needs_a_dictionary_is_told_as_such(tmp_path):
    samples = [f"text number {number} of some that are alike, {number * 7}".encode() * 3 for number in range(2000)]
    dictionary = zstandard.train_dictionary(1000, samples)
    path = tmp_path / "x.zst"
    path.write_bytes(
        zstandard.compress(b"before") + zstandard.ZstdCompressor(dict_data=dictionary).compress(samples[5])
    )
    with open_stream(path) as stream, pytest.raises(NeedsMoreError, match=r"dictionary.*zstd -d -D DICTIONARY"):
        stream.read()


def test_an_xz_file_that_needs_much_memory_is_told_as_such(tmp_path):
    path = tmp_path / "x.xz"
    path.write_bytes(lzma.compress(CONTENT))
    with (
        mock.patch.object(unpacking, "_XZ_MEMORY", 1 << 20),
        open_stream(path) as stream,
        pytest.raises(NeedsMoreError, match="takes more than 1 MiB of memory"),
    ):
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
