"""The file of a shard: a header of 64 bytes, then nothing but little-endian token ids.

| bytes | |
|---|---|
| 0–7 | the letters ``PEDSHARD`` |
| 8–11 | version of this layout, 1 |
| 12–15 | bytes of an id: 2 or 4 |
| 16–23 | number of ids |
| 24–31 | vocabulary size: every id is below it |
| 32–47 | xxh3-128 of the ``tokenizer.json`` that made the ids |
| 48–63 | zero |

All numbers are unsigned and little-endian. numpy only: the training path imports this module.
"""

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from llm_core.errors import PedigreeError

HEADER_BYTES = 64

_MAGIC = b"PEDSHARD"
_VERSION = 1
_LAYOUT = struct.Struct("<8sIIQQ16s16x")
_DTYPES: dict[int, np.dtype] = {2: np.dtype("<u2"), 4: np.dtype("<u4")}


@dataclass(frozen=True)
class ShardHeader:
    """The header of a shard. ``tokenizer``: the digest of ``tokenizer.json``, 32 hexadecimal digits."""

    dtype: np.dtype
    tokens: int
    vocab_size: int
    tokenizer: str


def write_shard(path: Path, ids: np.ndarray, *, dtype: str, vocab_size: int, tokenizer: str) -> None:
    """Write ``ids`` (integers, one dimension) as ``dtype`` (uint16 or uint32); ``tokenizer`` as in ``ShardHeader``.

    Raises ``PedigreeError`` for an id that the vocabulary does not have, before anything is written.
    """
    element = np.dtype(dtype).newbyteorder("<")
    if _DTYPES.get(element.itemsize) != element or vocab_size > 1 << 8 * element.itemsize:
        raise ValueError(f"{dtype} can't hold the ids of a vocabulary of {vocab_size} entries")
    low, high = (int(ids.min()), int(ids.max())) if ids.size else (0, 0)
    if low < 0 or (ids.size and high >= vocab_size):
        raise PedigreeError(
            f"{path}: the token id {low if low < 0 else high} is not in the vocabulary of {vocab_size} entries: "
            "the encoder and tokenizer.json do not match; make the tokenizer again"
        )
    header = _LAYOUT.pack(_MAGIC, _VERSION, element.itemsize, len(ids), vocab_size, bytes.fromhex(tokenizer))
    with path.open("wb") as file:
        file.write(header)
        np.ascontiguousarray(ids, dtype=element).tofile(file)


def read_header(path: Path) -> ShardHeader:
    """The header of a shard. Raises ``PedigreeError`` for a file that is no shard, or that has another size."""
    try:
        with path.open("rb") as file:
            head = file.read(HEADER_BYTES)
        size = path.stat().st_size
    except OSError as error:
        found = "is missing" if isinstance(error, FileNotFoundError) else f"can't be read: {error}"
        raise PedigreeError(f"{path}: the shard {found}; make the shards again") from None
    if len(head) < HEADER_BYTES or not head.startswith(_MAGIC):
        raise PedigreeError(f"{path}: is not a token shard (no whole header of {HEADER_BYTES} bytes)")
    _, version, itemsize, tokens, vocab_size, digest = _LAYOUT.unpack(head)
    if version != _VERSION or itemsize not in _DTYPES or any(head[48:]):
        raise PedigreeError(
            f"{path}: a shard of version {version} with ids of {itemsize} bytes; this program reads version {_VERSION} "
            "with 2 or 4: make the shards again"
        )
    expected = HEADER_BYTES + tokens * itemsize
    if size != expected:
        raise PedigreeError(
            f"{path}: the shard has {size} bytes instead of {expected} (its header says {tokens} tokens): "
            "it was cut or added to; make the shards again"
        )
    return ShardHeader(_DTYPES[itemsize], tokens, vocab_size, digest.hex())


def open_shard(path: Path) -> tuple[ShardHeader, np.ndarray]:
    """The header, and the ids as a read-only memory map; raises ``PedigreeError`` as ``read_header`` does.

    Does not check that ids are in the vocabulary: that would read the whole file.
    """
    header = read_header(path)
    if not header.tokens:  # nothing can be mapped
        return header, np.empty(0, dtype=header.dtype)
    return header, np.memmap(path, dtype=header.dtype, mode="r", offset=HEADER_BYTES, shape=(header.tokens,))
