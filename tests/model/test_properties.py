"""What must hold for every model that can be described, whatever it is made of."""

from collections.abc import Callable

import pytest
import torch

import tests.model.flops  # noqa: F401
from llm_core.contracts import costs, models
from llm_core.contracts.models import DOCUMENTS, T
from llm_core.experiment.model import ModelSpec
from tests.model.shapes import MODELS, model, named, tokens


@pytest.mark.parametrize("check", [*models.CHECKS, *costs.CHECKS], ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", MODELS)
def test_the_contract_of_models(name: str, check: Callable[[ModelSpec], None]) -> None:
    check(named(name))


@pytest.mark.parametrize(
    "name",
    [
        "mixattention",
        "softcaps",
        "alibi",
        "gpt2",
        "mla",
        "liv",
        "mamba",
        "mamba2",
        "retnet",
        "hyena",
        "rwkv7",
        "rwkv4",
        "value_embeddings",
    ],
)
def test_compiled_equals_eager(name: str) -> None:
    """As one graph a block, forward and backward. What inductor then makes of the graphs is torch's to test."""
    x, y, found = tokens(2, T), tokens(2, T, seed=1), []
    for compiled in (False, True):
        built = model(named(name, document_mask=True))
        if compiled:
            torch._dynamo.reset()  # graphs of other models' blocks count towards a limit
            for block in built.blocks:
                block.compile(backend="aot_eager", fullgraph=True)
        loss = built(x, y, DOCUMENTS).objective
        loss.backward()
        found.append([loss, *(parameter.grad for parameter in built.parameters())])
    torch._dynamo.reset()
    for eager, other in zip(*found, strict=True):
        torch.testing.assert_close(eager, other, atol=1e-4, rtol=1e-4)
