from types import SimpleNamespace

import pytest
import torch

from llm_core.errors import PedigreeError
from llm_core.model.build import build_model
from llm_core.train.snapshot import Snapshot
from llm_core.train.state import Piece, pieces
from tests.train.runs import VOCABULARY, model_spec

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def state() -> list[Piece]:
    """Weights, moments, and scalar step counts, as after some steps."""
    model = build_model(model_spec(), VOCABULARY)
    optimizer = torch.optim.AdamW(model.parameters())
    tokens = torch.zeros(1, 8, dtype=torch.int64)
    model(tokens, tokens).objective.backward()
    optimizer.step()
    return pieces(model, optimizer, rank=0, world_size=1)


class Pinning:
    """A fake of CUDA's host memory registration, streams and events."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, code: int = 0) -> None:
        self.code, self.sizes = code, dict[int, int]()
        runtime = SimpleNamespace(cudaHostRegister=self.register, cudaHostUnregister=self.sizes.pop)
        nothing = SimpleNamespace(record=lambda stream: None, synchronize=lambda: None)
        monkeypatch.setattr(torch.cuda, "cudart", lambda: runtime)
        monkeypatch.setattr(torch.cuda, "Event", lambda: nothing)
        monkeypatch.setattr(torch.cuda, "current_stream", lambda device: None)

    def register(self, place: int, size: int, flags: int) -> int:
        self.sizes[place] = size
        return self.code


def test_copies_stay_as_they_were_when_the_originals_change() -> None:
    originals = state()
    snapshot = Snapshot(CPU)
    copies = snapshot.take(originals)
    before = [piece.rows.clone() for piece in originals]
    for piece in originals:
        piece.rows.add_(1)
    for copy, expected, piece in zip(copies, before, originals, strict=True):
        assert torch.equal(copy.rows, expected)
        assert copy[:3] == piece[:3]
        assert (copy.rows.shape, copy.rows.dtype) == (piece.rows.shape, piece.rows.dtype)


def test_pinned_memory_is_as_large_as_the_state(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch's own pinned buffers may be twice as large."""
    pinning = Pinning(monkeypatch)
    originals = state()
    snapshot = Snapshot(CUDA)
    snapshot.take(originals)
    size = sum(piece.rows.nbytes for piece in originals)
    assert list(pinning.sizes.values()) == [snapshot.bytes]
    assert size <= snapshot.bytes <= size + 64 * len(originals)
    place = list(pinning.sizes)
    snapshot.take(originals)
    assert list(pinning.sizes) == place, "the buffer is used again"
    weights = [piece for piece in originals if piece.name.startswith("weights/")]
    snapshot.take(weights)
    assert list(pinning.sizes.values()) == [snapshot.bytes]
    assert snapshot.bytes < size / 2
    del snapshot
    assert pinning.sizes == {}, "given back"


def test_memory_that_can_not_be_pinned_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    Pinning(monkeypatch, code=2)
    with pytest.raises(PedigreeError, match=r"GB of main memory.*can't be pinned \(CUDA error 2\).*ulimit -l"):
        Snapshot(CUDA).take(state())


@pytest.mark.gpu
def test_copies_to_pinned_memory_stay_as_they_were_too() -> None:
    originals = [Piece(str(number), (1 << 22,), 0, torch.randn(1 << 22, device=CUDA)) for number in range(4)]
    before = [piece.rows.cpu() for piece in originals]
    snapshot = Snapshot(CUDA)
    copies = snapshot.take(originals)
    for piece in originals:
        piece.rows.add_(1)  # queued behind the copies
    snapshot.ready()
    assert all(copy.rows.is_pinned() for copy in copies)
    assert all(torch.equal(copy.rows, expected) for copy, expected in zip(copies, before, strict=True))
