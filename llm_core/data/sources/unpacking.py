"""Compressed files: gzip, Zstandard, xz and bzip2, in any number of members, frames or streams."""

import bz2
import io
import lzma
import zlib
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

import zstandard

FREE_EXPANSION = 64 << 20
"""Every file may unpack to so many bytes, whatever its size."""

# Packed bytes that are unpacked at once. Gzip unpacks one byte to at most 1,032 bytes, Zstandard four to 128 KiB. So
# this takes at most 16 MiB of memory for any file. Other formats return at most _MOST bytes at once.
_PACKED = {".gz": 1 << 13, ".zst": 1 << 9, ".xz": 1 << 16, ".bz2": 1 << 16}
_MOST = 1 << 22
_WINDOW = 1 << 31  # the window of `zstd --ultra --long=31`; the default limit is 128 MiB
_XZ_MEMORY = 1 << 30  # `xz -9` needs 65 MiB

_MAGIC = {
    ".gz": (b"\x1f\x8b",),
    ".zst": (b"\x28\xb5\x2f\xfd", *(bytes([low]) + b"\x2a\x4d\x18" for low in range(0x50, 0x60))),
    ".xz": (b"\xfd7zXZ\0",),
    ".bz2": (b"BZh",),
}
"""Suffix → how a file begins. The later ones of Zstandard are skippable frames."""

_PADDED = (".gz", ".xz", ".bz2")
"""Formats in which zeros after the last member are padding, as tapes and some tools write it."""

UNITS: Mapping[str, Callable[[], Any]] = {
    ".gz": lambda: zlib.decompressobj(wbits=31),
    ".zst": lambda: zstandard.ZstdDecompressor(max_window_size=_WINDOW).decompressobj(),
    ".xz": lambda: lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=_XZ_MEMORY),
    ".bz2": bz2.BZ2Decompressor,
}
"""Suffix → function that makes the decompressor of one member, frame or stream."""


def _may_begin(chunk: bytes, suffix: str) -> bool:
    """Whether a file with this suffix may begin with ``chunk``, which may be shorter than the whole magic number."""
    return any(chunk[: len(magic)] == magic[: len(chunk)] for magic in _MAGIC[suffix])


class UnpackingError(Exception):
    """A compressed file can't be unpacked to its end."""


class DamagedError(UnpackingError):
    """The file is broken or cut off; ``position`` is a byte of the compressed file."""

    def __init__(self, position: int, reason: str) -> None:
        super().__init__(reason)
        self.position = position


class ExpansionError(UnpackingError):
    """The file unpacks to more than is allowed."""


class NeedsMoreError(UnpackingError):
    """The file may be complete, but needs a dictionary, another name, or more memory; the message says the remedy."""


class Unpacking(io.RawIOBase):
    """The unpacked bytes of ``file``, whose ``suffix`` is a key of ``UNITS``.

    Why not the library's reader? It takes a cut Zstandard frame for the end of the file.
    """

    def __init__(self, file: BinaryIO, suffix: str, max_expansion: int) -> None:
        self._file, self._suffix, self._max_expansion = file, suffix, max_expansion
        self._unit: Any = None
        self._packed = b""
        self._ready = memoryview(b"")
        self._units = 0
        self._bytes_in = self._bytes_out = 0

    def readable(self) -> bool:
        """Always true."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill ``buffer`` with some of the next bytes. Returns their number, 0 at the end."""
        while not self._ready:
            if not self._fill():
                return 0
        count = min(len(buffer), len(self._ready))
        buffer[:count] = self._ready[:count]
        self._ready = self._ready[count:]
        return count

    def _fill(self) -> bool:
        """Unpack some more bytes. Returns False at a proper end."""
        chunk = self._packed
        if not chunk and getattr(self._unit, "needs_input", True):
            chunk = self._file.read(_PACKED[self._suffix])
            self._bytes_in += len(chunk)
            if not chunk:
                if self._unit is not None or not self._units:
                    raise DamagedError(self._bytes_in, "it ends in the middle of the compressed data")
                return False
        self._packed = b""
        if self._unit is None:
            if not self._units and not _may_begin(chunk, self._suffix):
                raise NeedsMoreError(
                    f"its content is not packed as its name says ({self._suffix}); give it the right name, or fetch it "
                    "again"
                )
            if self._units and self._suffix in _PADDED:
                chunk = chunk.lstrip(b"\0")
                if not chunk:
                    return True
            self._unit, self._units = UNITS[self._suffix](), self._units + 1
        unpacked = self._unpacked(chunk)
        self._bytes_out += len(unpacked)
        if self._bytes_out > FREE_EXPANSION + self._max_expansion * self._bytes_in:
            raise ExpansionError(f"its first {self._bytes_in:,} bytes unpack to {self._bytes_out:,}")
        self._ready = memoryview(unpacked)
        if self._unit.eof:
            self._packed, self._unit = self._unit.unused_data, None
        return True

    def _unpacked(self, chunk: bytes) -> bytes:
        try:
            if self._suffix in (".xz", ".bz2"):
                return bytes(self._unit.decompress(chunk, _MOST))
            return bytes(self._unit.decompress(chunk))
        except (zlib.error, zstandard.ZstdError, lzma.LZMAError, OSError) as error:
            if isinstance(error, zstandard.ZstdError) and "dictionary mismatch" in str(error).lower():
                raise NeedsMoreError(
                    "it was packed with a Zstandard dictionary, which is not in the file; unpack it with "
                    "`zstd -d -D DICTIONARY`, and pack it again without one"
                ) from None
            if isinstance(error, lzma.LZMAError) and "memory usage limit" in str(error).lower():
                raise NeedsMoreError(
                    f"unpacking it takes more than {_XZ_MEMORY >> 20} MiB of memory; unpack it, and pack it again with "
                    "`xz -9`"
                ) from None
            raise DamagedError(self._bytes_in - len(chunk), str(error)) from None

    def close(self) -> None:
        """Close the file too."""
        self._file.close()
        super().close()
