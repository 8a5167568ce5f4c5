"""What the compiler makes of the mixers' blocks computes the same. (With a backend that needs no C++ compiler.)"""

import copy

import pytest
import torch

from tests.model.shapes import model, named, tokens


@pytest.mark.parametrize("name", ["mla", "liv", "mamba2", "hyena_order_3", "rwkv7", "rwkv4"])
def test_compiled_equals_eager(name: str) -> None:
    eager = model(named(name, document_mask=True))
    compiled = copy.deepcopy(eager)
    for block in compiled.blocks:
        block.compile(backend="aot_eager", fullgraph=True)
    x, targets, documents = tokens(2, 14), tokens(2, 14, seed=1), torch.tensor([[0] * 6 + [1] * 8, [0] * 12 + [-1] * 2])
    torch._dynamo.reset()  # graphs of other models' blocks count towards a limit
    losses = [built(x, targets, documents).objective for built in (eager, compiled)]
    torch.testing.assert_close(losses[1], losses[0])
    for loss in losses:
        loss.backward()
    for one, other in zip(eager.parameters(), compiled.parameters(), strict=True):
        torch.testing.assert_close(other.grad, one.grad, atol=1e-4, rtol=1e-3)
