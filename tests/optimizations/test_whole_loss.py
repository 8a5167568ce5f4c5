"""The loss with all logits at once is the loss of the runs."""

from typing import Any

import pytest
import torch

from llm_core.model.cross_entropy import linear_cross_entropy
from llm_core.optimizations.whole_loss import whole_cross_entropy
from llm_core.tokens.loader import IGNORED


@pytest.mark.parametrize("options", [{}, {"softcap": 3.0, "z_loss": 0.1}, {"clamp": 2.5, "z_loss": 0.1}])
def test_it_is_the_loss_of_the_runs(options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(12, 8, dtype=torch.float32), torch.randn(20, 8)
    targets = torch.randint(0, 20, (12,))
    targets[3] = IGNORED
    found = []
    for loss in (linear_cross_entropy, whole_cross_entropy):
        inputs = [tensor.clone().requires_grad_() for tensor in (x, weight)]
        objective, cross_entropy = loss(*inputs, targets, **options)
        objective.backward()
        found.append((objective.detach(), cross_entropy, *(tensor.grad for tensor in inputs)))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_validation_is_the_one_of_the_runs() -> None:
    with torch.no_grad():
        arguments = torch.randn(4, 8), torch.randn(20, 8), torch.randint(0, 20, (4,))
        for ours, theirs in zip(
            whole_cross_entropy(*arguments, each=True), linear_cross_entropy(*arguments, each=True), strict=True
        ):
            assert torch.equal(ours, theirs)
