"""A copy of a state in main memory, taken at one moment, while the training that changes the original goes on."""

import weakref
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from llm_core.errors import PedigreeError
from llm_core.train.state import Piece

_ALIGNED = 64
"""Bytes: every copy begins at a multiple."""


class Snapshot:
    """Copies pieces into one buffer that is kept and used again: whoever reads a copy must be done before the next one.

    On CUDA the buffer is pinned, and the copies are queued on the stream that computes: later kernels, which change
    the original, come after them, and the host does not wait. (A stream of their own would gain nothing, since the next
    update would have to wait for it.)
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._buffer = torch.empty(0, dtype=torch.uint8)
        self._copied: torch.cuda.Event | None = None
        self._unpin: Callable[[], object] = _nothing

    @property
    def bytes(self) -> int:
        """Main memory that it holds."""
        return self._buffer.numel()

    def take(self, pieces: Sequence[Piece]) -> list[Piece]:
        """The pieces with copies of their rows; on CUDA they may be read after ``ready``.

        Raises ``PedigreeError`` where main memory can't be pinned.
        """
        starts, end = [], 0
        for piece in pieces:
            starts.append(end)
            end += -(-piece.rows.nbytes // _ALIGNED) * _ALIGNED
        self._make_room(end)
        copies = []
        for piece, start in zip(pieces, starts, strict=True):
            rows = self._buffer[start : start + piece.rows.nbytes].view(piece.rows.dtype).view(piece.rows.shape)
            copies.append(piece._replace(rows=rows.copy_(piece.rows, non_blocking=True)))
        if self._device.type == "cuda":
            self._copied = torch.cuda.Event()
            self._copied.record(torch.cuda.current_stream(self._device))
        return copies

    def ready(self) -> None:
        """Wait until the copies are there; for the thread that reads them."""
        if self._copied is not None:
            self._copied.synchronize()

    def _make_room(self, size: int) -> None:
        """Have a buffer of ``size`` bytes, pinned on CUDA.

        Not by ``pin_memory``: torch rounds each of its buffers up to a power of two, and keeps what is given back.
        """
        if self._buffer.numel() == size:
            return
        self.ready()
        self._unpin()
        self._buffer = torch.empty(0, dtype=torch.uint8)  # given back before the next one is made
        buffer = torch.empty(size, dtype=torch.uint8)
        if self._device.type == "cuda" and size:
            code = int(torch.cuda.cudart().cudaHostRegister(buffer.data_ptr(), size, 0))
            if code:
                raise PedigreeError(
                    f"{size / 1e9:.1f} GB of main memory, from which checkpoints are written, can't be pinned (CUDA "
                    f"error {code}): give the machine or container more memory, or raise its limit of locked memory "
                    "(ulimit -l)"
                )
            self._unpin = weakref.finalize(self, _unpinned, buffer)
        self._buffer = buffer


def _unpinned(buffer: Tensor) -> None:
    torch.cuda.cudart().cudaHostUnregister(buffer.data_ptr())


def _nothing() -> None:
    pass
