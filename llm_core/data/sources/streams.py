"""Files as streams of bytes, plain or compressed. A stream that ends too early is an error, never a short file."""

import io
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

import zstandard

COMPRESSED = (".gz", ".zst")

_PACKED = 1 << 13  # unpacked at once; gzip makes at most a thousand times as much of it
_WINDOW = 1 << 31  # what `zstd --ultra --long=31` looks back; without saying so, 128 MiB are the limit
_SKIPPED = 1 << 16
_LONG_LINE_START = 1000


class DamagedError(Exception):
    """A compressed file that can't be unpacked to its end; ``position`` is a byte of the compressed file."""

    def __init__(self, position: int, reason: str) -> None:
        super().__init__(reason)
        self.position = position


class _Unpacking(io.RawIOBase):
    """Gzip members or Zstandard frames, one after the other.

    The library readers of Zstandard take a cut frame for the end of the file: hence this one, which knows whether a
    frame was finished.
    """

    def __init__(self, file: BinaryIO, suffix: str) -> None:
        self._file, self._suffix = file, suffix
        self._unit: Any = None
        self._packed = b""
        self._ready = memoryview(b"")
        self._units = 0

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
        chunk = self._packed or self._file.read(_PACKED)
        self._packed = b""
        if not chunk:
            if self._unit is not None or not self._units:
                raise DamagedError(self._file.tell(), "it ends in the middle of the compressed data")
            return False
        if self._unit is None:
            self._unit, self._units = self._new_unit(), self._units + 1
        try:
            self._ready = memoryview(self._unit.decompress(chunk))
        except (zlib.error, zstandard.ZstdError) as error:
            raise DamagedError(self._file.tell() - len(chunk), str(error)) from None
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


def open_stream(path: Path) -> BinaryIO:
    """The unpacked bytes of ``path``, by its suffix; reading raises ``DamagedError`` where broken."""
    file = path.open("rb")
    if path.suffix in COMPRESSED:
        return cast(BinaryIO, io.BufferedReader(_Unpacking(file, path.suffix), buffer_size=1 << 20))
    return file


def read_lines(stream: BinaryIO, limit: int) -> Iterator[tuple[bytes, bool]]:
    """(line without its end, whether it is whole) for every line; of one above ``limit`` bytes comes only the start."""
    while line := stream.readline(limit + 1):
        whole = len(line) <= limit or line.endswith(b"\n")
        end = line
        while end and not whole and not end.endswith(b"\n"):
            end = stream.readline(_SKIPPED)
        yield (line.rstrip(b"\r\n") if whole else line[:_LONG_LINE_START]), whole
