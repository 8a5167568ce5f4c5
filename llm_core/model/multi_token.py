"""Multi-token prediction: MTP heads after the decoder predict tokens beyond the next one. Only training uses them.

After DeepSeek-V3 (DeepSeek-AI, 2024): at position i, head k reads the hidden state of head k - 1 (the first head: the
decoder's residual stream before its last norm) and the embedding of token i + k. It predicts token i + k + 1 by the
decoder's own head. Its attention is causal, as the decoder's is.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from llm_core.experiment.model import ModelSpec
from llm_core.model.accounting import mtp_layer
from llm_core.model.block import Block
from llm_core.model.context import Context
from llm_core.tokens.loader import IGNORED


class MTPHead(nn.Module):
    """A matrix joins a normalised hidden state and a normalised embedding; then comes a block."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.hidden_norm = spec.norm.module(spec.d_model, spec.bias)
        self.token_norm = spec.norm.module(spec.d_model, spec.bias)
        self.join = nn.Linear(2 * spec.d_model, spec.d_model, bias=False)
        self.block = Block(spec, mtp_layer(spec))
        self.norm = spec.norm.module(spec.d_model, spec.bias)

    def forward(self, x_BTD: Tensor, tokens_BTD: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        """Hidden states and embeddings → the next hidden states, and the same normalised for the decoder's head."""
        joined_BTD = self.join(torch.cat((self.hidden_norm(x_BTD), self.token_norm(tokens_BTD)), dim=-1))
        x_BTD, _ = self.block(joined_BTD, None, context)
        return x_BTD, self.norm(x_BTD)


def mtp_objective(
    heads: nn.ModuleList,
    x_BTD: Tensor,
    targets_BT: Tensor,
    document_ids_BT: Tensor | None,
    context: Context,
    embed: Callable[[Tensor], Tensor],
    objective: Callable[[Tensor, Tensor], Tensor],
) -> Tensor:
    """The mean of the objectives of all MTP heads, each a sum over tokens.

    ``embed``: ids (B, T) → embeddings. ``objective``: normalised hidden states and targets → a scalar. Targets beyond
    the row are ignored, and with ``document_ids_BT`` those of another document.
    """
    total = x_BTD.new_zeros(())
    for k, head in enumerate(heads, start=1):
        # Token i + k is target i + k - 1. Past the end there is none, and no position that counts reads the filling.
        tokens_BT = _ahead(targets_BT, k - 1).clamp(min=0)
        x_BTD, normed_BTD = head(x_BTD, embed(tokens_BT), context)
        further_BT = _ahead(targets_BT, k)
        if document_ids_BT is not None:
            same_BT = _ahead(document_ids_BT, k) == document_ids_BT
            further_BT = torch.where(same_BT, further_BT, IGNORED)
        total = total + objective(normed_BTD, further_BT)
    return total / len(heads)


def _ahead(values_BT: Tensor, places: int) -> Tensor:
    """The values shifted to the left by ``places``, with ``IGNORED`` at the end."""
    filling = values_BT.new_full((len(values_BT), min(places, values_BT.shape[1])), IGNORED)
    return torch.cat((values_BT[:, places:], filling), dim=1)
