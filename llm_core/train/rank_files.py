"""One rank's part of a checkpoint: ``rank_0003.safetensors`` and its index ``rank_0003.json``.

The index lists the rows of each tensor in the file, and the file's size and SHA-256. Tensors are in the safetensors
format, which runs no code when it is read, unlike pickle.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from os import SEEK_END, fsync
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import torch
from torch import Tensor

from llm_core.store.files import write_atomically
from llm_core.train.state import Piece

_CHUNK = 1 << 24
_DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


def part_name(rank: int) -> str:
    """The name of the file with a rank's tensors."""
    return f"rank_{rank:04d}.safetensors"


def index_name(rank: int) -> str:
    """The name of a rank's index. The file exists once the tensors are on the disk."""
    return f"rank_{rank:04d}.json"


def write_part(folder: Path, rank: int, pieces: Sequence[Piece]) -> None:
    """Write and sync the pieces (on the CPU), then their index. Raises ``OSError`` when that fails."""
    header, position = {}, 0
    for piece in pieces:
        header[piece.name] = {
            "dtype": _DTYPES[piece.rows.dtype],
            "shape": list(piece.rows.shape),
            "data_offsets": [position, position + piece.rows.nbytes],
        }
        position += piece.rows.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path = folder / part_name(rank)
    sha256 = hashlib.sha256()
    with path.open("wb") as file:
        _write(file, memoryview(len(text).to_bytes(8, "little") + text), sha256)
        for piece in pieces:
            _write(file, _bytes(piece.rows), sha256)
        file.flush()
        fsync(file.fileno())
        size = file.tell()
    index = {
        "file": path.name,
        "size": size,
        "sha256": sha256.hexdigest(),
        "tensors": {piece.name: {"shape": list(piece.shape), "start": piece.start} for piece in pieces},
    }
    write_atomically(folder / index_name(rank), json.dumps(index).encode())


def damage(folder: Path, index: str, sha256: str) -> str | None:
    """The damage of the part with the index file ``index``; None when there is none. ``sha256``: of the index file.

    ``OSError`` when a file can't be read: that is not damage.
    """
    try:
        content = (folder / index).read_bytes()
        if hashlib.sha256(content).hexdigest() != sha256:
            return f"the content of {index} has changed"
        part = json.loads(content)
        with (folder / part["file"]).open("rb") as file:
            size = file.seek(0, SEEK_END)
            file.seek(0)
            if size != part["size"]:
                return f"{part['file']} has {size} bytes instead of {part['size']}"
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError as error:
        return f"{error.filename}: there is no such file"
    return None if digest == part["sha256"] else f"the content of {part['file']} has changed"


class StoredParts:
    """The tensors of a checkpoint, combined from the parts of all ranks. A context manager.

    It reads only the requested rows.
    """

    def __init__(self, folder: Path, indices: Iterable[str]) -> None:
        self._folder = folder
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._places: dict[str, list[tuple[int, str]]] = {}
        self._files: dict[str, Any] = {}
        self._open = ExitStack()
        for name in indices:
            index = json.loads((folder / name).read_bytes())
            for tensor, place in index["tensors"].items():
                self._shapes[tensor] = tuple(place["shape"])
                self._places.setdefault(tensor, []).append((place["start"], index["file"]))

    def __enter__(self) -> "StoredParts":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def names(self) -> Iterable[str]:
        """The names of all tensors, in alphabetical order."""
        return sorted(self._shapes)

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of the whole tensor."""
        return self._shapes[name]

    def scalar(self, name: str) -> Tensor:
        """A 0-d tensor."""
        ((_, file),) = self._places[name]
        return self._file(file).get_tensor(name)

    def rows(self, name: str, start: int, stop: int) -> Tensor:
        """Rows ``start`` to ``stop`` (excluded) of a tensor."""
        found = []
        for first, file in sorted(self._places[name]):
            part = self._file(file).get_slice(name)
            below, above = max(start - first, 0), min(stop - first, part.get_shape()[0])
            if below < above:
                found.append(part[below:above])
        if found:
            return found[0] if len(found) == 1 else torch.cat(found)
        _, file = self._places[name][0]
        return self._file(file).get_slice(name)[0:0]  # a rank may have no rows of a short tensor

    def _file(self, name: str) -> Any:
        from safetensors import safe_open

        if name not in self._files:
            self._files[name] = self._open.enter_context(safe_open(self._folder / name, framework="pt"))
        return self._files[name]


def _bytes(rows: Tensor) -> memoryview:
    return memoryview(rows.contiguous().flatten().view(torch.uint8).numpy().data)


def _write(file: BinaryIO, content: memoryview, sha256: Any) -> None:
    for start in range(0, len(content), _CHUNK):
        chunk = content[start : start + _CHUNK]
        file.write(chunk)
        sha256.update(chunk)
