"""A copy of a state in main memory, taken at one moment, while the training that changes the original goes on."""

from collections.abc import Sequence

import torch
from torch import Tensor

from llm_core.train.state import Piece


class Snapshot:
    """Copies pieces into buffers that are kept and used again: whoever reads a copy must be done before the next one.

    On CUDA the buffers are pinned, and the copies are queued on the stream that computes: later kernels, which change
    the original, come after them, and the host does not wait. (A stream of their own would gain nothing, since the next
    update would have to wait for it.)
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._buffers: dict[str, Tensor] = {}
        self._copied: torch.cuda.Event | None = None

    def take(self, pieces: Sequence[Piece]) -> list[Piece]:
        """The pieces with copies of their rows; on CUDA they may be read after ``ready``."""
        on_cuda = self._device.type == "cuda"
        copies = []
        for piece in pieces:
            buffer = self._buffers.get(piece.name)
            if buffer is None or (buffer.shape, buffer.dtype) != (piece.rows.shape, piece.rows.dtype):
                buffer = torch.empty(piece.rows.shape, dtype=piece.rows.dtype, pin_memory=on_cuda)
                self._buffers[piece.name] = buffer
            copies.append(piece._replace(rows=buffer.copy_(piece.rows, non_blocking=True)))
        if on_cuda:
            self._copied = torch.cuda.Event()
            self._copied.record(torch.cuda.current_stream(self._device))
        return copies

    def ready(self) -> None:
        """Wait until the copies are there; for the thread that reads them."""
        if self._copied is not None:
            self._copied.synchronize()
