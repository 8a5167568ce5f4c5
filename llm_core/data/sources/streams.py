"""Files as streams of bytes, plain or compressed. A stream that ends too early is an error, never a short file."""

import io
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

import zstandard

COMPRESSED = (".gz", ".zst")

FREE_EXPANSION = 64 << 20
"""A file may unpack to so many bytes, whatever its own size."""

_BLOCK = 1 << 20
# Packed bytes that are unpacked at once. Gzip makes at most 1,032 bytes of one, Zstandard 128 KiB of four: so memory
# holds at most 16 MiB more, whatever the file says.
_PACKED = {".gz": 1 << 13, ".zst": 1 << 9}
_WINDOW = 1 << 31  # what `zstd --ultra --long=31` looks back; without saying so, 128 MiB are the limit
_LONG_LINE_START = 1000


class DamagedError(Exception):
    """A compressed file that can't be unpacked to its end; ``position`` is a byte of the compressed file."""

    def __init__(self, position: int, reason: str) -> None:
        super().__init__(reason)
        self.position = position


class ExpansionError(Exception):
    """A compressed file that unpacks to more than is allowed."""


class _Unpacking(io.RawIOBase):
    """Gzip members or Zstandard frames, one after the other.

    The library readers of Zstandard take a cut frame for the end of the file: hence this one, which knows whether a
    frame was finished.
    """

    def __init__(self, file: BinaryIO, suffix: str, max_expansion: int) -> None:
        self._file, self._suffix, self._max_expansion = file, suffix, max_expansion
        self._unit: Any = None
        self._packed = b""
        self._ready = memoryview(b"")
        self._units = 0
        self._bytes_in = self._bytes_out = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready:
            if not self._fill():
                return 0
        count = min(len(buffer), len(self._ready))
        buffer[:count] = self._ready[:count]
        self._ready = self._ready[count:]
        return count

    def _fill(self) -> bool:
        """Unpack some more; False at a proper end."""
        chunk = self._packed
        if not chunk:
            chunk = self._file.read(_PACKED[self._suffix])
            self._bytes_in += len(chunk)
        self._packed = b""
        if not chunk:
            if self._unit is not None or not self._units:
                raise DamagedError(self._bytes_in, "it ends in the middle of the compressed data")
            return False
        if self._unit is None:
            self._unit, self._units = self._new_unit(), self._units + 1
        try:
            unpacked = self._unit.decompress(chunk)
        except (zlib.error, zstandard.ZstdError) as error:
            raise DamagedError(self._bytes_in - len(chunk), str(error)) from None
        self._bytes_out += len(unpacked)
        if self._bytes_out > FREE_EXPANSION + self._max_expansion * self._bytes_in:
            raise ExpansionError(f"its first {self._bytes_in:,} bytes unpack to {self._bytes_out:,}")
        self._ready = memoryview(unpacked)
        if self._unit.eof:
            self._packed, self._unit = self._unit.unused_data, None
        return True

    def _new_unit(self) -> Any:
        if self._suffix == ".gz":
            return zlib.decompressobj(wbits=31)
        return zstandard.ZstdDecompressor(max_window_size=_WINDOW).decompressobj()

    def close(self) -> None:
        self._file.close()
        super().close()


def open_stream(path: Path, max_expansion: int = 100) -> BinaryIO:
    """The unpacked bytes of ``path``, by its suffix.

    Reading raises ``DamagedError`` where it is broken, and ``ExpansionError`` once it has unpacked to more than
    ``max_expansion`` times its size and ``FREE_EXPANSION``.
    """
    file = path.open("rb", buffering=_BLOCK)
    suffix = path.suffix.lower()
    if suffix in COMPRESSED:
        return cast(BinaryIO, io.BufferedReader(_Unpacking(file, suffix, max_expansion), buffer_size=_BLOCK))
    return file


def read_lines(stream: BinaryIO, limit: int) -> Iterator[tuple[bytes, bool]]:
    """(line without its end, whether it is whole) for every line; of one above ``limit`` bytes comes only the start."""
    rest, skipping = b"", False
    while block := stream.read(_BLOCK):
        *lines, last = block.split(b"\n")
        if lines:
            lines[0] = rest + lines[0]
            rest = last
        elif not skipping:
            rest += last
        for line in lines:
            if skipping:  # the end of a line whose start was given before
                skipping = False
            elif len(line) <= limit:
                yield line.rstrip(b"\r"), True
            else:
                yield line[:_LONG_LINE_START], False
        if skipping:
            rest = b""
        elif len(rest) > limit:
            yield rest[:_LONG_LINE_START], False
            rest, skipping = b"", True
    if rest:
        yield rest.rstrip(b"\r"), True


def read_up_to(stream: BinaryIO, limit: int) -> bytes:
    """The whole stream if it has at most ``limit`` bytes, else its first ``limit``."""
    pieces, size = [], 0
    while size < limit and (piece := stream.read(min(_BLOCK, limit - size))):
        pieces.append(piece)
        size += len(piece)
    return b"".join(pieces)
