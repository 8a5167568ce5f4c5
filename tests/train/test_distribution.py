import pytest
import torch
from torch import nn
from torch._dynamo.utils import counters

from llm_core.errors import PedigreeError
from llm_core.model.build import build_model
from llm_core.train import distribution
from llm_core.train.distribution import World, open_world, spread
from llm_core.train.threads import threads_per_rank
from tests.train.runs import ALONE, VOCABULARY, model_spec, trainer_spec

MIXED = {
    "n_layers": 3,
    "document_mask": True,
    "mixer": {"qk_norm": True},
    "pattern": [{"mixer": {"window": 8}}, {"mixer": {"window": 8, "share_kv": True}}, {}],
}


EXPERTS = {"feed_forward": {"kind": "moe", "experts": 4, "top_k": 2, "d_ff": 32, "bias_rate": 0.01}}


@pytest.mark.parametrize(
    ("mode", "layers"),
    [("none", MIXED), ("full", MIXED), ("selective", MIXED), ("full", {**EXPERTS, "document_mask": True})],
)
def test_blocks_are_compiled_also_when_they_are_recomputed(tmp_path, monkeypatch, mode, layers):
    """With a backend that needs no compiler; what matters is that the blocks' code reaches it, whole."""
    compile_module = nn.Module.compile
    monkeypatch.setattr(nn.Module, "compile", lambda module: compile_module(module, backend="aot_eager"))
    torch._dynamo.reset()
    counters.clear()
    torch.manual_seed(0)
    spec = trainer_spec(tmp_path, model=model_spec(**layers), compile=True, activation_checkpointing=mode)
    model = build_model(spec.model, VOCABULARY)
    tokens = torch.arange(64).reshape(2, 32)
    documents = tokens // 10
    expected = model(tokens, tokens, documents).objective
    expected.backward()
    gradients = [parameter.grad for parameter in model.parameters()]
    model.zero_grad(set_to_none=True)
    loss = spread(model, spec, ALONE)(tokens, tokens, documents).objective
    loss.backward()
    assert torch.allclose(loss, expected)
    assert counters["frames"]["ok"] >= 1
    assert not counters["graph_break"]
    pairs = zip(model.parameters(), gradients, strict=True)
    assert all(torch.allclose(parameter.grad, gradient, atol=1e-4) for parameter, gradient in pairs)


def test_the_compiler_may_make_a_version_for_every_layer(tmp_path):
    spec = trainer_spec(tmp_path, model=model_spec(n_layers=12), compile=True)
    spread(build_model(spec.model, VOCABULARY), spec, ALONE)
    assert torch._dynamo.config.recompile_limit >= 12 * 8
    assert torch._dynamo.config.accumulated_recompile_limit > torch._dynamo.config.recompile_limit


def test_blocks_that_are_compiled_one_by_one_are_not_cut_for_ddp(tmp_path, monkeypatch):
    monkeypatch.setattr(torch._dynamo.config, "optimize_ddp", True)
    given = {}
    monkeypatch.setattr(distribution, "DistributedDataParallel", lambda model, **options: given.update(options))
    spec = trainer_spec(tmp_path, compile=True)
    spread(build_model(spec.model, VOCABULARY), spec, World(0, 2, torch.device("cpu")))
    assert torch._dynamo.config.optimize_ddp is False
    assert given["broadcast_buffers"] is False


def test_where_the_compiler_gives_up_is_told_once(tmp_path, monkeypatch):
    torch._dynamo.reset()
    compile_module = nn.Module.compile
    monkeypatch.setattr(nn.Module, "compile", lambda module: compile_module(module, backend="eager", dynamic=False))
    spec, lines = trainer_spec(tmp_path, compile=True), []
    model = spread(build_model(spec.model, VOCABULARY), spec, ALONE, lines.append)
    with torch._dynamo.config.patch(recompile_limit=2):
        for length in (8, 9, 10, 11):
            tokens = torch.zeros(1, length, dtype=torch.int64)
            model(tokens, tokens)
    (line,) = lines
    assert line.startswith("warning: the compiler made 8 versions per block and makes no more")
    assert "function: 'forward'" in line
    torch._dynamo.reset()


def test_fp8_is_refused_before_work_where_there_is_none(tmp_path):
    spec = trainer_spec(tmp_path, training={"precision": "fp8"}, compile=True)
    with pytest.raises(
        PedigreeError, match=r"precision fp8 needs a GPU of compute capability 8\.9.*is CPU with .*bf16"
    ):
        spread(build_model(spec.model, VOCABULARY), spec, ALONE)


def test_fp8_without_a_compiler_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"training\.precision fp8 needs compile: true: .*or precision to bf16"):
        trainer_spec(tmp_path, training={"precision": "fp8"}, compile=False)


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
