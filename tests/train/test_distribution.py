import pytest
import torch
from torch import nn
from torch._dynamo.utils import counters

from llm_core.errors import PedigreeError
from llm_core.model.build import build_model
from llm_core.train.distribution import open_world, spread
from llm_core.train.threads import threads_per_rank
from tests.train.runs import ALONE, VOCABULARY, model_spec


@pytest.mark.parametrize("recompute", [False, True])
def test_blocks_are_compiled_also_when_they_are_recomputed(monkeypatch, recompute):
    """With a backend that needs no compiler; what matters is that the blocks' code reaches it."""
    compile_module = nn.Module.compile
    monkeypatch.setattr(nn.Module, "compile", lambda module: compile_module(module, backend="aot_eager"))
    torch._dynamo.reset()
    counters.clear()
    torch.manual_seed(0)
    model = build_model(model_spec(), VOCABULARY)
    tokens = torch.arange(64).reshape(2, 32)
    expected = model(tokens, tokens)
    loss = spread(model, ALONE, "ddp", compiled=True, recompute=recompute)(tokens, tokens)
    loss.backward()
    assert torch.allclose(loss, expected)
    assert counters["frames"]["ok"] >= 1
    assert not counters["graph_break"]
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_alone_there_is_nothing_to_join(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    with open_world() as world:
        assert (world.rank, world.size, world.is_main) == (0, 1, True)
        assert world.largest(2.5) == 2.5
        assert world.from_main("x") == "x"


def test_more_ranks_than_gpus_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(PedigreeError, match="this machine has 2"), open_world():
        pass


def test_threads_are_shared():
    assert threads_per_rank(10_000) == 1
    assert threads_per_rank(1) >= threads_per_rank(2)
