"""Token superposition: for a first part of training, a position is a bag of tokens, and predicts the next bag.

Peng, Gigant and Quesnelle (2026): the embeddings of s tokens in a row are averaged, so that a pass over T tokens has
T / s positions; each predicts the s tokens of the bag after it by one softmax, whose cross-entropy is summed over them
(a multi-hot target). Then training goes on as ever with the same weights.

Dimensions: G bags of a sequence, S tokens of a bag.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from llm_core.experiment.training import TrainingSpec
from llm_core.tokens.loader import IGNORED

ABSENT = -1
"""In the place of a token that is in no bag."""


class Bags(NamedTuple):
    """What a model reads instead of a micro-batch."""

    tokens_BGS: Tensor  # noqa: N815
    targets_BGS: Tensor  # noqa: N815
    document_ids_BG: Tensor  # noqa: N815


def bag_size(training: TrainingSpec, step: int) -> int:
    """Tokens of a position in ``step`` (from 0); 1 is ordinary training."""
    superposition = training.superposition
    return 1 if superposition is None or step >= superposition.steps else superposition.tokens


def bagged(inputs_BT: Tensor, targets_BT: Tensor, document_ids_BT: Tensor, size: int) -> Bags:
    """The same sequences in bags of ``size`` tokens; T must be a multiple of it.

    A bag is of the document of its last token: tokens of a document that ends in it are left out of it, and it
    predicts those of the next ``size`` tokens that its document has. So no document has a part in another one's loss;
    what is lost are the first tokens of a document, up to the end of the bag in which it begins, as targets.
    """
    B, T = inputs_BT.shape
    shape = (B, T // size, size)
    document_ids_BGS = document_ids_BT.view(shape)
    own_BG = document_ids_BGS[:, :, -1]
    tokens_BGS = torch.where(document_ids_BGS == own_BG[..., None], inputs_BT.view(shape), ABSENT)
    # What follows the last token of bag g are the targets from its place on: size of them, or to the end of the row.
    ahead = size - 1
    following_BGS = _ahead(targets_BT, ahead, IGNORED).view(shape)
    theirs_BGS = _ahead(document_ids_BT, ahead, ABSENT).view(shape)
    targets_BGS = torch.where(theirs_BGS == own_BG[..., None], following_BGS, IGNORED)
    return Bags(tokens_BGS, targets_BGS, own_BG)


def mean_embedding(embedding: nn.Embedding, tokens_BGS: Tensor) -> Tensor:
    """(B, G, D): the mean of the embeddings of each bag's tokens."""
    there_BGS = tokens_BGS != ABSENT
    x_BGSD = embedding(tokens_BGS.clamp(min=0))
    shares_BGS = there_BGS / there_BGS.sum(dim=-1, keepdim=True)
    return (x_BGSD * shares_BGS[..., None].to(x_BGSD.dtype)).sum(dim=2)  # no product of matrices: autocast leaves it


def _ahead(values_BT: Tensor, places: int, filling: int) -> Tensor:
    """Every value replaced by the one so many places after it, and at the end by ``filling``."""
    return torch.cat((values_BT[:, places:], values_BT.new_full((len(values_BT), places), filling)), dim=1)
