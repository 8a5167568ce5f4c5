"""N-gram embeddings: tables for the last two or more tokens, added to the embedding of each token.

The rows are chosen by a hash (Svenstrup et al., 2017), so a table has any size, and some n-grams share a row (Huang et
al., 2025, Over-Tokenized Transformer). What a small model knows of short phrases is then looked up and not computed.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from llm_core.experiment.layers import NgramEmbeddingSpec
from llm_core.model.context import Context

MULTIPLIER = 0x9E3779B1
"""Of the hash: close to 2^32 over the golden ratio (Knuth, 1973, 6.4). int64 products wrap around."""
NO_DOCUMENT = -2
"""The document of the places before the first token; −1 is that of padding."""


def draw_nothing(rows: Tensor, _generator: Generator | None) -> None:
    """Zeros: the model begins as one without tables."""
    rows.zero_()


class NgramTable(nn.Embedding):
    """The rows of n-grams of one length. Optimisers may treat these tables differently from the embedding."""

    parameter_kinds: ClassVar[Mapping[str, str]] = {"weight": "ngram_embeddings"}
    draws: ClassVar[Mapping[str, Any]] = {"weight": draw_nothing}


class NgramEmbedding(nn.Module):
    """The sum of one row per length from 2 to ``spec.longest``."""

    def __init__(self, spec: NgramEmbeddingSpec, d_model: int) -> None:
        super().__init__()
        self.lengths = range(2, spec.longest + 1)
        self.rows = spec.rows
        self.tables = nn.ModuleList(NgramTable(spec.rows, d_model) for _ in self.lengths)

    @property
    def before(self) -> int:
        """How many earlier tokens (J) a token is looked up with."""
        return len(self.lengths)

    def forward(self, tokens_BT: Tensor, context: Context) -> Tensor:
        """(B, T, D). Tokens before the first one of a document count as one that is no token.

        A decoding state in ``context`` is advanced to the last of the tokens.
        """
        J, T = self.before, tokens_BT.shape[1]
        ids_BT = tokens_BT + 1
        state = context.state
        before_BJ = ids_BT.new_zeros(len(ids_BT), J) if state is None or state.tokens_BJ is None else state.tokens_BJ
        ids_BU = torch.cat((before_BJ, ids_BT), dim=1)
        if state is not None:
            state.tokens_BJ = ids_BU[:, T:]
        documents_BU = None
        if context.documents_BS is not None:
            documents_BU = functional.pad(context.documents_BS, (J, 0), value=NO_DOCUMENT)[:, context.start :]
        hashes_BT, rows = ids_BT, []
        for distance, table in enumerate(self.tables, start=1):
            earlier_BT = ids_BU[:, J - distance : J - distance + T]
            if documents_BU is not None:
                same_BT = documents_BU[:, J - distance : J - distance + T] == documents_BU[:, J:]
                earlier_BT = torch.where(same_BT, earlier_BT, 0)
            hashes_BT = hashes_BT * MULTIPLIER + earlier_BT
            # The low bits of a product depend on the low bits of its factors only.
            mixed_BT = (hashes_BT ^ (hashes_BT >> 29)) * MULTIPLIER
            rows.append(table((mixed_BT ^ (mixed_BT >> 32)) % self.rows))
        return torch.stack(rows).sum(0) if len(rows) > 1 else rows[0]
