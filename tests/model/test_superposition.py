import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from llm_core.experiment.training import SuperpositionSpec, TrainingSpec
from llm_core.model.build import build_model
from llm_core.model.cross_entropy import linear_cross_entropy
from llm_core.model.superposition import ABSENT, bag_size, bagged, mean_embedding
from llm_core.registries import PACKINGS
from llm_core.tokens.loader import IGNORED, Loader
from llm_core.tokens.reader import ShardReader
from tests.model.shapes import VOCAB, named, spec
from tests.model.shapes import model as build
from tests.tokens.shard_folder import write_shards


def naive(tokens, targets, documents, size):
    """The definition, bag by bag and token by token, of one row."""
    found = []
    for first in range(0, len(tokens), size):
        own = documents[first + size - 1]
        bag = [tokens[place] for place in range(first, first + size) if documents[place] == own]
        ahead = range(first + size - 1, min(first + 2 * size - 1, len(tokens)))
        found.append((bag, [targets[place] for place in ahead if documents[place] == own and own >= 0], own))
    return found


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("size", [2, 3, 4])
def test_bags_are_those_of_the_definition(tmp_path, packing, size):
    write_shards(tmp_path, [5, 40, 3, 17, 1, 60, 2, 2, 31])
    batch = [torch.from_numpy(part) for part in Loader(ShardReader(tmp_path, "train"), 12, 8, 0, packing).batch(0)]
    bags = bagged(*batch, size)
    for row in range(8):
        expected = naive(*(part[row].tolist() for part in batch), size)
        assert bags.document_ids_BG[row].tolist() == [own for _, _, own in expected]
        for g, (bag, targets, own) in enumerate(expected):
            assert [token for token in bags.tokens_BGS[row, g].tolist() if token != ABSENT] == bag
            kept = [token for token in bags.targets_BGS[row, g].tolist() if token != IGNORED]
            assert kept == [target for target in targets if target != IGNORED], own


def test_a_bag_predicts_the_next_one_and_nothing_that_it_holds():
    tokens = torch.arange(1, 14)[None]
    bags = bagged(tokens[:, :-1], tokens[:, 1:], torch.zeros(1, 12, dtype=torch.int32), 4)
    assert bags.tokens_BGS.tolist() == [[[1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11, 12]]]
    assert bags.targets_BGS.tolist() == [[[5, 6, 7, 8], [9, 10, 11, 12], [13, IGNORED, IGNORED, IGNORED]]]


def test_the_embedding_of_a_bag_is_the_mean_of_its_own_tokens():
    embedding = nn.Embedding(9, 4)
    tokens = torch.tensor([[[1, 2, 3], [ABSENT, 5, 7]]])
    expected = torch.stack([embedding.weight[[1, 2, 3]].mean(0), embedding.weight[[5, 7]].mean(0)])
    torch.testing.assert_close(mean_embedding(embedding, tokens)[0], expected)


@pytest.mark.parametrize("softcap", [None, 3.0])
@pytest.mark.parametrize("z_loss", [0.0, 1e-2])
def test_the_loss_of_several_targets_is_the_sum_of_theirs(softcap, z_loss):
    torch.manual_seed(0)
    x = torch.randn(10, 6, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(17, 6, dtype=torch.float64, requires_grad=True)
    targets = torch.randint(17, (10, 3))
    targets[2], targets[3, 1:], targets[4] = IGNORED, IGNORED, torch.tensor([5, 5, 2])
    ours = linear_cross_entropy(x, weight, targets, softcap=softcap, z_loss=z_loss, chunk=4)
    gradients = torch.autograd.grad(ours[0], (x, weight))
    logits = x @ weight.T
    logits = logits if softcap is None else softcap * torch.tanh(logits / softcap)
    repeated = logits.repeat_interleave(3, dim=0)
    cross_entropy = functional.cross_entropy(repeated, targets.flatten(), reduction="sum")
    squares = repeated.logsumexp(-1).square()[targets.flatten() != IGNORED].sum()
    objective = cross_entropy + z_loss * squares
    torch.testing.assert_close(ours, (objective, cross_entropy))
    torch.testing.assert_close(gradients, torch.autograd.grad(objective, (x, weight)))


@pytest.mark.parametrize("name", ["llama", "value_embeddings"])
def test_a_decoder_reads_bags_as_positions_and_sees_neither_the_future_nor_other_documents(name):
    model = build(named(name, document_mask=True))
    torch.manual_seed(1)
    tokens = torch.randint(1, 50, (2, 25))
    documents = torch.tensor([[0] * 10 + [1] * 14, [0] * 24], dtype=torch.int32)
    bags = bagged(tokens[:, :-1], tokens[:, 1:], documents, 4)
    embedded = mean_embedding(model.embedding, bags.tokens_BGS)
    logits = model(bags.tokens_BGS, None, bags.document_ids_BG)
    losses = model(*bags)
    kept = bags.targets_BGS != IGNORED
    naive = -logits.log_softmax(-1).gather(2, bags.targets_BGS.clamp(min=0))[kept].sum()
    torch.testing.assert_close(losses.objective, naive)
    assert embedded.shape == (2, 6, model.spec.d_model)
    changed = bags.tokens_BGS.clone()
    changed[0, 4:] = 7  # later bags
    changed[0, 1] = 9  # another document
    after = model(changed, None, bags.document_ids_BG)
    torch.testing.assert_close(after[0, 2:4], logits[0, 2:4])
    assert not torch.allclose(after[0, 4], logits[0, 4])


def training(**fields) -> TrainingSpec:
    return TrainingSpec(**{"sequence_length": 32, "batch_tokens": 256, "tokens": 2560, **fields})


def test_bags_end_with_their_phase():
    assert [bag_size(training(superposition=SuperpositionSpec(tokens=4, steps=3)), step) for step in (0, 2, 3, 9)] == [
        4,
        4,
        1,
        1,
    ]
    assert bag_size(training(), 0) == 1


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"superposition": SuperpositionSpec(tokens=5, steps=3)}, "32 tokens is no whole number of bags of 5"),
        ({"superposition": SuperpositionSpec(tokens=32, steps=3)}, "at least two"),
        ({"superposition": SuperpositionSpec(tokens=4, steps=3), "loss_clamp": 9.0}, "does not go with loss_clamp"),
    ],
)
def test_contradictions_are_named(fields, message):
    with pytest.raises(ValueError, match=message):
        training(**fields)


def test_the_loss_of_fresh_weights_is_that_of_a_guess():
    model = build_model(spec(), VOCAB)
    tokens = torch.from_numpy(np.random.default_rng(0).integers(1, 50, (4, 33)))
    bags = bagged(tokens[:, :-1], tokens[:, 1:], torch.zeros(4, 32, dtype=torch.int32), 4)
    targets = int((bags.targets_BGS != IGNORED).sum())
    assert targets == 4 * (32 - 3)
    assert float(model(*bags).cross_entropy) / targets == pytest.approx(math.log(VOCAB), abs=0.2)
