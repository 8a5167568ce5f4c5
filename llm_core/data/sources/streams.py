"""Files as streams of bytes, plain or compressed. A stream that ends too early is an error, never a short file."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

from llm_core.data.sources.unpacking import UNITS, Unpacking

COMPRESSED = tuple(UNITS)

_BLOCK = 1 << 20
_LONG_LINE_START = 1000


def open_stream(path: Path, max_expansion: int = 100) -> BinaryIO:
    """The unpacked bytes of ``path``, by its suffix.

    Reading raises ``DamagedError`` if the file is broken, ``ExpansionError`` if it unpacks to more than
    ``max_expansion`` times its size plus ``FREE_EXPANSION``, and ``NeedsMoreError`` if something is missing to unpack
    it.
    """
    file = path.open("rb", buffering=_BLOCK)
    suffix = path.suffix.lower()
    if suffix in COMPRESSED:
        return cast(BinaryIO, io.BufferedReader(Unpacking(file, suffix, max_expansion), buffer_size=_BLOCK))
    return file


def read_lines(stream: BinaryIO, limit: int, ends: bytes = b"\r") -> Iterator[tuple[bytes, bool]]:
    """(line without its end, whether it is whole) for every line. A line above ``limit`` bytes is cut to its start.

    Bytes of ``ends`` before the line feed belong to the line's end.
    """
    rest, skipping = b"", False
    while block := stream.read(_BLOCK):
        *lines, last = block.split(b"\n")
        if lines:
            lines[0] = rest + lines[0]
            rest = last
        elif not skipping:
            rest += last
        for line in lines:
            if skipping:  # the end of a line whose start was yielded before
                skipping = False
            elif len(line) <= limit:
                yield line.rstrip(ends), True
            else:
                yield line[:_LONG_LINE_START], False
        if skipping:
            rest = b""
        elif len(rest) > limit:
            yield rest[:_LONG_LINE_START], False
            rest, skipping = b"", True
    if rest:
        yield rest.rstrip(ends), True


def read_up_to(stream: BinaryIO, limit: int) -> bytes:
    """The whole stream if it has at most ``limit`` bytes, else its first ``limit``."""
    pieces, size = [], 0
    while size < limit and (piece := stream.read(min(_BLOCK, limit - size))):
        pieces.append(piece)
        size += len(piece)
    return b"".join(pieces)
