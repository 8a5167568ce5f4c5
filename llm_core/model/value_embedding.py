"""Value embeddings (ResFormer: Zhou et al., 2024): tables of tokens for the values of attention."""

from collections.abc import Mapping
from typing import ClassVar

from torch import nn


class ValueEmbedding(nn.Embedding):
    """The table of one layer, one row per token. Optimisers may treat these tables differently from the embedding."""

    parameter_kinds: ClassVar[Mapping[str, str]] = {"weight": "value_embeddings"}
