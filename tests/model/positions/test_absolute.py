import pytest
import torch

from llm_core.model.build import build_model
from llm_core.model.context import positions_in_documents
from llm_core.model.positions.absolute.module import Sinusoidal
from llm_core.model.positions.absolute.spec import Sinusoidal as SinusoidalSpec
from tests.model.shapes import model, named, tokens


def test_sines_and_cosines() -> None:
    found = Sinusoidal(SinusoidalSpec(), 32, 0.5**0.5)(torch.tensor([[0, 3]]))
    assert found.shape == (1, 2, 32)
    for i in range(16):
        angle = torch.tensor(3.0) * 10_000.0 ** (-2 * i / 32)
        torch.testing.assert_close(found[0, 1, 2 * i : 2 * i + 2], torch.stack([angle.sin(), angle.cos()]))
    torch.testing.assert_close(found[0, 0], torch.tensor([0.0, 1.0] * 16))


def test_they_are_as_large_as_embeddings_begin() -> None:
    """Of the size of 1, they drown tokens whose embeddings begin at a fiftieth of that."""
    for scale in (1.0, 35.0):
        shape = named("sinusoidal", embedding_scale=scale)
        built = build_model(shape, 300, generator=torch.Generator().manual_seed(0))
        sizes = built.embedding.weight * scale, built.position(torch.arange(64))
        tokens_rms, positions_rms = (float(vectors.detach().square().mean().sqrt()) for vectors in sizes)
        assert positions_rms == pytest.approx(tokens_rms, rel=0.03)


def test_positions_count_within_documents() -> None:
    documents = torch.tensor([[0, 0, 1, 1, 1, -1], [4, 5, 5, 6, 7, 7]])
    assert positions_in_documents(documents).tolist() == [[0, 1, 0, 1, 2, 0], [0, 0, 1, 0, 0, 1]]


def test_a_document_reads_the_same_wherever_it_stands() -> None:
    for name in ("gpt2", "sinusoidal"):
        built, x = model(named(name, document_mask=True)), tokens(1, 8)
        whole = built(x, document_ids_BT=torch.tensor([[0] * 3 + [1] * 5]))
        alone = built(x[:, 3:], document_ids_BT=torch.zeros(1, 5, dtype=torch.long))
        torch.testing.assert_close(whole[:, 3:], alone, atol=1e-4, rtol=1e-4)
