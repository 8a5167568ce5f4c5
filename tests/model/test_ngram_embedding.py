"""Tables for n-grams: which tokens change which embeddings, and what they begin as."""

import pytest
import torch

from llm_core.experiment.layers import NgramEmbeddingSpec
from llm_core.experiment.lengths import check_lengths
from llm_core.experiment.training import TrainingSpec
from llm_core.model.build import build_model
from llm_core.model.context import Context
from llm_core.model.ngram_embedding import NgramEmbedding
from tests.model.shapes import spec

WIDTH = 3


@pytest.fixture
def embedding() -> NgramEmbedding:
    torch.manual_seed(0)
    made = NgramEmbedding(NgramEmbeddingSpec(rows=4096, longest=3), WIDTH)
    for table in made.tables:
        torch.nn.init.normal_(table.weight)
    return made


def looked_up(embedding: NgramEmbedding, tokens: list[int], documents: list[int] | None = None) -> torch.Tensor:
    ids = None if documents is None else torch.tensor([documents])
    return embedding(torch.tensor([tokens]), Context(0, len(tokens), ids))[0]


def test_a_token_is_looked_up_with_the_two_before_it(embedding: NgramEmbedding) -> None:
    one, other = looked_up(embedding, [1, 2, 3, 4, 5]), looked_up(embedding, [7, 2, 3, 4, 5])
    changed = (one != other).any(-1)
    assert changed.tolist() == [True, True, True, False, False]


def test_equal_phrases_have_equal_rows_and_their_order_counts(embedding: NgramEmbedding) -> None:
    rows = looked_up(embedding, [9, 1, 2, 3, 8, 1, 2, 3, 2, 1])
    assert torch.equal(rows[3], rows[7])
    assert not torch.equal(rows[2], rows[9])


def test_a_phrase_ends_with_its_document(embedding: NgramEmbedding) -> None:
    packed = looked_up(embedding, [1, 2, 3, 4, 5], [0, 0, 0, 1, 1])
    torch.testing.assert_close(packed[3:], looked_up(embedding, [4, 5]))
    torch.testing.assert_close(packed[:3], looked_up(embedding, [1, 2, 3]))


def test_pairs_are_spread_over_the_rows() -> None:
    """Pairs of 64 tokens over 4,096 rows: as many in use as for random rows, 1 − 1/e of them."""
    embedding = NgramEmbedding(NgramEmbeddingSpec(rows=4096), 1)
    embedding.tables[0].weight.data = torch.arange(4096.0)[:, None]
    pairs = torch.cartesian_prod(torch.arange(64), torch.arange(64))
    used = embedding(pairs, Context(0, 2, None))[:, 1].unique().numel()
    assert used / 4096 == pytest.approx(0.632, abs=0.03)


def test_new_tables_change_nothing() -> None:
    tokens = torch.randint(0, 50, (2, 9), generator=torch.Generator().manual_seed(0))
    found = []
    for given in (None, {"rows": 50}):
        model = build_model(spec(ngram_embedding=given), 50, generator=torch.Generator().manual_seed(0))
        found.append(model(tokens))
    torch.testing.assert_close(*found)


def test_bags_of_tokens_are_refused() -> None:
    training = TrainingSpec(sequence_length=16, batch_tokens=32, tokens=3200, superposition={"tokens": 4, "steps": 10})
    with pytest.raises(ValueError, match=r"superposition: does not go with model\.ngram_embedding"):
        check_lengths(spec(ngram_embedding={"rows": 8}), training)
