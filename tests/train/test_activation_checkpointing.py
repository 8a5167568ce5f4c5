import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from llm_core.model.build import build_model
from llm_core.train import activation_checkpointing as module
from llm_core.train.activation_checkpointing import checkpoint_activations
from tests.train.runs import VOCABULARY, model_spec

LAYERS = 4
PRODUCTS = 4
"""Products with weights in a block: qkv, output, gate and up, down."""


class Counted(TorchDispatchMode):
    """Counts the calls of each operation."""

    def __init__(self):
        super().__init__()
        self.counts = {}

    def __torch_dispatch__(self, operation, types, arguments=(), options=None):
        name = operation.overloadpacket.__name__
        self.counts[name] = self.counts.get(name, 0) + 1
        return operation(*arguments, **(options or {}))


def backward(mode, every=None, backend="sdpa", device="cpu", **changes):
    """Operations of the backward pass, bytes stored for it, and all gradients."""
    torch.manual_seed(0)
    model = build_model(model_spec(n_layers=LAYERS, document_mask=True, dropout=0.1, **changes), VOCABULARY).to(device)
    model.attention_backend = backend
    checkpoint_activations(list(model.blocks), mode, every)
    tokens = torch.randint(VOCABULARY, (2, 32)).to(device)
    kept = {}

    def pack(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    torch.manual_seed(1)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = model(tokens, tokens, torch.arange(32, device=device).expand(2, -1) // 9).objective
    with Counted() as counted:
        loss.backward()
    return counted.counts, sum(kept.values()), [parameter.grad for parameter in model.parameters()]


@pytest.mark.parametrize(("mode", "every", "again"), [("full", None, 4), ("every_nth", 2, 2), ("every_nth", 3, 2)])
def test_blocks_are_made_again_and_change_nothing(mode, every, again):
    """Recomputation repeats the same dropout."""
    plain, much, expected = backward("none")
    counts, little, gradients = backward(mode, every)
    assert counts["mm"] == plain["mm"] + again * PRODUCTS
    assert little < much
    assert all(torch.equal(a, b) for a, b in zip(gradients, expected, strict=True))


@pytest.mark.parametrize("mode", ["full", "selective"])
@pytest.mark.parametrize("backend", ["sdpa", "eager"])
def test_attention_dropout_falls_where_it_fell_before(mode, backend):
    expected, found = (backward(how, backend=backend, mixer={"dropout": 0.2})[2] for how in ("none", mode))
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_selective_keeps_no_kernel_that_draws(monkeypatch):
    kept = []
    make = module.create_selective_checkpoint_contexts
    monkeypatch.setattr(module, "create_selective_checkpoint_contexts", lambda ops: kept.append(ops) or make(ops))
    flash = torch.ops.aten._scaled_dot_product_flash_attention.default
    backward("selective")
    assert all(flash in ops for ops in kept)
    kept.clear()
    backward("selective", mixer={"dropout": 0.2})
    assert kept
    assert not any(flash in ops for ops in kept)


@pytest.mark.gpu
@pytest.mark.parametrize("mode", ["full", "selective"])
def test_attention_dropout_falls_where_it_fell_before_on_cuda(mode):
    expected, found = (backward(how, device="cuda", mixer={"dropout": 0.2})[2] for how in ("none", mode))
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-3)


def test_selective_makes_neither_products_nor_attention_again():
    plain, _, expected = backward("none")
    counts, _, gradients = backward("selective")
    assert counts["mm"] == plain["mm"]
    attention = [name for name in counts if "scaled_dot_product" in name]
    assert attention
    assert all(counts[name] == plain[name] for name in attention)
    assert sum(counts.values()) > sum(plain.values()), "the rest is made again"
    assert all(torch.equal(a, b) for a, b in zip(gradients, expected, strict=True))


@pytest.mark.parametrize("mode", ["full", "selective"])
def test_what_blocks_note_for_the_loss_holds_nothing_that_was_made_again(mode):
    moe = {"kind": "moe", "experts": 4, "top_k": 2, "d_ff": 16, "shared": 1, "balance_loss": 0.1}
    gradients = []
    for changes in ({"mode": "none", "every": None}, {"mode": mode, "every": None}):
        torch.manual_seed(0)
        model = build_model(model_spec(feed_forward=moe), VOCABULARY)
        checkpoint_activations(list(model.blocks), **changes)
        tokens = torch.arange(64).reshape(2, 32)
        model(tokens, tokens).objective.backward()
        assert [block.feed_forward.routing for block in model.blocks] == [None] * 2
        gradients.append([parameter.grad for parameter in model.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))
