import torch

from llm_core.model.context import positions_in_documents
from llm_core.model.positions.absolute import Sinusoidal
from tests.model.shapes import model, named, spec, tokens


def test_sines_and_cosines() -> None:
    found = Sinusoidal(spec())(torch.tensor([[0, 3]]))
    assert found.shape == (1, 2, 32)
    for i in range(16):
        angle = torch.tensor(3.0) * 10_000.0 ** (-2 * i / 32)
        torch.testing.assert_close(found[0, 1, 2 * i : 2 * i + 2], torch.stack([angle.sin(), angle.cos()]))
    assert found[0, 0].tolist() == [0.0, 1.0] * 16


def test_positions_count_within_documents() -> None:
    documents = torch.tensor([[0, 0, 1, 1, 1, -1], [4, 5, 5, 6, 7, 7]])
    assert positions_in_documents(documents).tolist() == [[0, 1, 0, 1, 2, 0], [0, 0, 1, 0, 0, 1]]


def test_a_document_reads_the_same_wherever_it_stands() -> None:
    for name in ("gpt2", "sinusoidal"):
        built, x = model(named(name, document_mask=True)), tokens(1, 8)
        whole = built(x, document_ids_BT=torch.tensor([[0] * 3 + [1] * 5]))
        alone = built(x[:, 3:], document_ids_BT=torch.zeros(1, 5, dtype=torch.long))
        torch.testing.assert_close(whole[:, 3:], alone, atol=1e-4, rtol=1e-4)
