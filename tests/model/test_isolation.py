"""What no model may do: look into the future, or into another document. For every idea, by values and by gradients."""

import pytest
import torch
from torch import Tensor, nn

from tests.model.shapes import MODELS, VOCAB, model, named, tokens

DOCUMENTS = torch.tensor([[0] * 5 + [1] + [2] * 6 + [-1] * 2, [0] * 3 + [1] * 11])
"""Two rows of 14 tokens; the second has its border elsewhere, the first ends in padding."""


def equal(name: str, one: Tensor, other: Tensor) -> bool:
    """To the last bit; but experts' products are rounded by how many tokens chose them."""
    return torch.allclose(one, other, atol=1e-5, rtol=1e-5) if "moe" in name else torch.equal(one, other)


def reach(built: nn.Module, x: Tensor, place: tuple[int, int], documents: Tensor | None) -> Tensor:
    """(B, T): how much the logits at ``place`` (row, column) depend on each token's embedding, by gradients."""
    seen: list[Tensor] = []
    handle = built.embedding.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    logits = built(x, document_ids_BT=documents)[place]
    handle.remove()
    (gradient,) = torch.autograd.grad(logits.square().sum(), seen[0])
    return gradient.abs().sum(-1)


@pytest.mark.parametrize("name", MODELS)
def test_documents_are_apart(name: str) -> None:
    built, x = model(named(name, document_mask=True)), tokens(2, 14)
    before = built(x, document_ids_BT=DOCUMENTS)
    for row, changed in ((0, slice(0, 5)), (0, slice(5, 6)), (1, slice(0, 3)), (1, slice(3, 14))):
        other = x.clone()
        other[row, changed] = (other[row, changed] + 7) % VOCAB
        same = torch.ones_like(x, dtype=torch.bool)
        same[row, changed] = False
        assert equal(name, built(other, document_ids_BT=DOCUMENTS)[same], before[same])
    for row, column in ((0, 4), (0, 5), (0, 9), (1, 2), (1, 12)):
        size = reach(built, x, (row, column), DOCUMENTS)
        own = torch.zeros_like(x, dtype=torch.bool)
        own[row] = DOCUMENTS[row] == DOCUMENTS[row, column]
        own[:, column + 1 :] = False
        assert (size[~own] == 0).all()
        assert size[row, column] > 0


@pytest.mark.parametrize("name", MODELS)
def test_a_document_reads_as_if_alone(name: str) -> None:
    built, x = model(named(name, document_mask=True)), tokens(2, 14)
    whole = built(x, document_ids_BT=DOCUMENTS)
    for row, place in ((0, slice(0, 5)), (0, slice(5, 6)), (0, slice(6, 12)), (1, slice(3, 14))):
        part = x[row : row + 1, place]
        alone = built(part, document_ids_BT=torch.zeros_like(part))
        torch.testing.assert_close(whole[row : row + 1, place], alone, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", MODELS)
def test_nothing_comes_from_the_future(name: str) -> None:
    built, x = model(named(name)), tokens(1, 14)
    before = built(x)
    for place in (1, 6, 13):
        other = x.clone()
        other[0, place] = (other[0, place] + 7) % VOCAB
        after = built(other)
        assert equal(name, after[:, :place], before[:, :place])
        assert ((after - before)[:, place].abs().amax(-1) > 1e-4).all()
        size = reach(built, x, (0, place), None)
        assert (size[0, place + 1 :] == 0).all()
        assert size[0, place] > 0
