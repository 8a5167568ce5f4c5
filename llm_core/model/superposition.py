"""Token superposition: in the first part of training, each position is a bag of tokens and predicts the next bag.

Peng, Gigant and Quesnelle (2026): the embeddings of s consecutive tokens are averaged, so a pass over T tokens has
T / s positions. Each predicts the s tokens of the next bag by one softmax, and the cross-entropies of these tokens are
summed (a multi-hot target). Afterwards, ordinary training continues with the same weights.

Dimensions: G bags of a sequence, S tokens of a bag.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from llm_core.experiment.training import TrainingSpec
from llm_core.tokens.loader import IGNORED

ABSENT = -1
"""Replaces the id of a token that is left out of its bag."""


class Bags(NamedTuple):
    """The input of the model in place of a micro-batch."""

    tokens_BGS: Tensor  # noqa: N815
    targets_BGS: Tensor  # noqa: N815
    document_ids_BG: Tensor  # noqa: N815


def bag_size(training: TrainingSpec, step: int) -> int:
    """Tokens per position in ``step`` (from 0); 1: ordinary training."""
    superposition = training.superposition
    return 1 if superposition is None or step >= superposition.steps else superposition.tokens


def bagged(inputs_BT: Tensor, targets_BT: Tensor, document_ids_BT: Tensor, size: int) -> Bags:
    """The same sequences in bags of ``size`` tokens. T must be a multiple of ``size``.

    A bag belongs to the document of its last token. Tokens of other documents are left out of it, and its targets are
    those of the next ``size`` tokens that are of the same document. So no document affects another one's loss. The
    first tokens of a document, up to the end of its first bag, are never targets.
    """
    B, T = inputs_BT.shape
    shape = (B, T // size, size)
    document_ids_BGS = document_ids_BT.view(shape)
    own_BG = document_ids_BGS[:, :, -1]
    tokens_BGS = torch.where(document_ids_BGS == own_BG[..., None], inputs_BT.view(shape), ABSENT)
    # The targets of bag g are those from its last token on: ``size`` of them, or as many as the row has.
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
    return (x_BGSD * shares_BGS[..., None].to(x_BGSD.dtype)).sum(dim=2)  # autocast leaves all but matrix products


def _ahead(values_BT: Tensor, places: int, filling: int) -> Tensor:
    """The values shifted to the left by ``places``, with ``filling`` at the end."""
    return torch.cat((values_BT[:, places:], values_BT.new_full((len(values_BT), places), filling)), dim=1)
