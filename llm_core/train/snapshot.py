"""Copies the state to main memory for a checkpoint, while training continues."""

import weakref
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from llm_core.errors import PedigreeError
from llm_core.train.state import Piece

_ALIGNED = 64
"""Bytes: every copy starts at a multiple of this."""


class Snapshot:
    """Copies pieces into one reused buffer: readers of a copy must finish before the next copy.

    On CUDA the buffer is pinned, and the copies are queued on the compute stream, so kernels that change the original
    run after them, and the host does not wait. (A separate stream gains nothing: the next update would wait for it.)
    """

    def __init__(self, device: torch.device) -> None:
        self._device, self._pinned = device, device.type == "cuda"
        self._buffer = torch.empty(0, dtype=torch.uint8)
        self._copied: torch.cuda.Event | None = None
        self._unpin: Callable[[], object] = _nothing

    @property
    def bytes(self) -> int:
        """The size of the buffer."""
        return self._buffer.numel()

    def take(self, pieces: Sequence[Piece]) -> list[Piece]:
        """The pieces with copies of their rows; on CUDA, read them after ``ready``.

        Raises ``PedigreeError`` when main memory can't be pinned.
        """
        starts, end = [], 0
        for piece in pieces:
            starts.append(end)
            end += -(-piece.rows.nbytes // _ALIGNED) * _ALIGNED
        self._make_room(end)
        copies = []
        for piece, start in zip(pieces, starts, strict=True):
            rows = self._buffer[start : start + piece.rows.nbytes].view(piece.rows.dtype).view(piece.rows.shape)
            copies.append(piece._replace(rows=rows.copy_(piece.rows, non_blocking=self._pinned)))
        if self._pinned:
            self._copied = torch.cuda.Event()
            self._copied.record(torch.cuda.current_stream(self._device))
        return copies

    def ready(self) -> None:
        """Wait for the copies. The thread that reads them calls this."""
        if self._copied is not None:
            self._copied.synchronize()

    def _make_room(self, size: int) -> None:
        """Allocate a buffer of ``size`` bytes, pinned on CUDA.

        It does not use ``pin_memory``: torch rounds such buffers up to a power of two, and keeps them when freed.
        """
        if self._buffer.numel() == size:
            return
        self.ready()
        self._unpin()
        self._buffer = torch.empty(0, dtype=torch.uint8)  # free the old buffer first
        buffer = torch.empty(size, dtype=torch.uint8)
        if self._pinned and size:
            code = int(torch.cuda.cudart().cudaHostRegister(buffer.data_ptr(), size, 0))
            if code:
                raise PedigreeError(
                    f"{size / 1e9:.1f} GB of main memory for checkpoints can't be pinned (CUDA error {code}): give the "
                    "machine or container more memory, or raise its limit of locked memory (ulimit -l)"
                )
            self._unpin = weakref.finalize(self, _unpinned, buffer)
        self._buffer = buffer


def _unpinned(buffer: Tensor) -> None:
    torch.cuda.cudart().cudaHostUnregister(buffer.data_ptr())


def _nothing() -> None:
    pass
