import pytest
import torch
from torch import nn

from llm_core.train import state as module
from llm_core.train.rank_files import StoredParts, index_name, write_part
from llm_core.train.state import load_optimizer, load_weights, pieces, rows_of


class Odd(nn.Module):
    """Tensors whose rows no number of ranks divides, one with fewer rows than ranks, and a buffer."""

    def __init__(self, seed):
        super().__init__()
        torch.manual_seed(seed)
        self.large = nn.Parameter(torch.randn(13, 5))
        self.short = nn.Parameter(torch.randn(2, 7))
        self.vector = nn.Parameter(torch.randn(3).bfloat16())
        self.experts = nn.Parameter(torch.randn(4, 2, 3))
        self.register_buffer("count", torch.tensor(seed))


def trained(seed):
    model = Odd(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    optimizer.step()
    return model, optimizer


def values(model, optimizer):
    moments = [value for state in optimizer.state.values() for _, value in sorted(state.items())]
    return [*model.state_dict().values(), *moments]


@pytest.mark.parametrize("world_size", [1, 2, 3, 8])
@pytest.mark.parametrize("whole_bytes", [0, 1 << 20])
def test_what_all_ranks_write_together_is_everything_once(tmp_path, monkeypatch, world_size, whole_bytes):
    monkeypatch.setattr(module, "_WHOLE_BYTES", whole_bytes)
    model, optimizer = trained(1)
    for rank in range(world_size):
        write_part(tmp_path, rank, pieces(model, optimizer, rank, world_size))
    other, other_optimizer = trained(2)
    with StoredParts(tmp_path, [index_name(rank) for rank in range(world_size)]) as stored:
        load_weights(stored, other)
        load_optimizer(stored, other, other_optimizer)
        for start, stop in [(0, 13), (3, 4), (5, 11), (7, 7)]:
            assert torch.equal(stored.rows("weights/large", start, stop), model.large[start:stop])
    pairs = zip(values(model, optimizer), values(other, other_optimizer), strict=True)
    assert all(torch.equal(a, b) and a.dtype == b.dtype for a, b in pairs)


def test_ranks_write_about_the_same(monkeypatch):
    model = nn.Sequential(nn.Linear(512, 1024), nn.Linear(1024, 512), nn.Embedding(5000, 256))
    optimizer = torch.optim.AdamW(model.parameters())
    sizes = [sum(piece.rows.nbytes for piece in pieces(model, optimizer, rank, 4)) for rank in range(4)]
    assert sum(sizes) == sum(parameter.nbytes for parameter in model.parameters())
    assert max(sizes) < 1.02 * min(sizes)


def test_rows_are_cut_as_torch_cuts_them():
    for rows in range(1, 20):
        for ranks in range(1, 9):
            chunks = [len(chunk) for chunk in torch.arange(rows).chunk(ranks)]
            mine = [stop - start for start, stop in (rows_of(rows, rank, ranks) for rank in range(ranks))]
            assert mine == chunks + [0] * (ranks - len(chunks))
