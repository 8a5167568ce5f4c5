"""The Llama-style decoder: pre-norm blocks of attention and feed-forward between an embedding and a head."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from llm_core.experiment.model import ModelSpec
from llm_core.model.attention import Attention, causal_document_mask, continuation_mask
from llm_core.model.cache import KVCache
from llm_core.registries import FEED_FORWARDS, NORMS, POSITIONS

LOSS_CHUNK = 1024
"""Tokens whose loss is computed at once: small enough for a CPU's cache, large enough to fill a GPU."""


def summed_cross_entropy(logits_BTV: Tensor, targets_BT: Tensor) -> Tensor:
    """Cross-entropy in nats, summed over all tokens in fp32.

    In chunks, so that neither an fp32 copy of the logits nor its gradient is ever whole. The product that makes the
    logits is not chunked: the head's gradient would then be summed over chunks in bf16.
    """
    logits, targets = logits_BTV.flatten(0, 1).split(LOSS_CHUNK), targets_BT.flatten().split(LOSS_CHUNK)
    losses = [functional.cross_entropy(z.float(), y, reduction="sum") for z, y in zip(logits, targets, strict=True)]
    return torch.stack(losses).sum()


class Block(nn.Module):
    """x + attention(norm(x)), then x + feed_forward(norm(x))."""

    def __init__(self, spec: ModelSpec, layer: int) -> None:
        super().__init__()
        norm = NORMS.load(spec.norm)
        self.attention_norm = norm(spec.d_model, spec.norm_eps)
        self.attention = Attention(spec, layer)
        self.feed_forward_norm = norm(spec.d_model, spec.norm_eps)
        self.feed_forward = FEED_FORWARDS.load(spec.feed_forward)(spec.d_model, spec.d_ff)

    def forward(
        self, x_BTD: Tensor, position: nn.Module, prepared: object, mask: Tensor | None, cache: KVCache | None
    ) -> Tensor:
        """(B, T, D) → (B, T, D)."""
        x_BTD = x_BTD + self.attention(self.attention_norm(x_BTD), position, prepared, mask, cache)
        return x_BTD + self.feed_forward(self.feed_forward_norm(x_BTD))


class Llama(nn.Module):
    """Decoder-only transformer (Touvron et al., 2023). Weights are left unset: see ``llm_core.model.init``."""

    def __init__(self, spec: ModelSpec, vocab_size: int) -> None:
        super().__init__()
        self.spec = spec
        self.vocab_size = vocab_size
        self.embedding = nn.Embedding(vocab_size, spec.d_model)
        self.position = POSITIONS.load(spec.position)(spec.head_dim, spec.rope_theta)
        self.blocks = nn.ModuleList(Block(spec, layer) for layer in range(spec.n_layers))
        self.norm = NORMS.load(spec.norm)(spec.d_model, spec.norm_eps)
        # A tied head is no second parameter, so there is nothing that a copy, a cast or a file could tear apart.
        self.head = None if spec.tie_embeddings else nn.Linear(spec.d_model, vocab_size, bias=False)

    @property
    def head_weight(self) -> Tensor:
        """The matrix (V, D) that turns the last hidden state into logits."""
        return self.embedding.weight if self.head is None else self.head.weight

    def forward(
        self,
        tokens_BT: Tensor,
        targets_BT: Tensor | None = None,
        document_ids_BT: Tensor | None = None,
        cache: KVCache | None = None,
    ) -> Tensor:
        """Logits (B, T, V), or with ``targets_BT`` their summed cross-entropy in nats (fp32 scalar).

        ``document_ids_BT`` is needed when the specification says ``document_mask`` (``ValueError`` otherwise), except
        with a cache: a sequence that is being continued is one document. A cache is moved on by T tokens.
        """
        x_BTD = self.embedding(tokens_BT)
        start = 0 if cache is None else cache.length
        T = tokens_BT.shape[1]
        prepared = self.position.prepare(start, T, tokens_BT.device)
        mask = self._mask(tokens_BT, document_ids_BT, cache)
        for block in self.blocks:
            x_BTD = block(x_BTD, self.position, prepared, mask, cache)
        if cache is not None:
            cache.advance(T)
        logits_BTV = functional.linear(self.norm(x_BTD), self.head_weight)
        return logits_BTV if targets_BT is None else summed_cross_entropy(logits_BTV, targets_BT)

    def _mask(self, tokens_BT: Tensor, document_ids_BT: Tensor | None, cache: KVCache | None) -> Tensor | None:
        if cache is not None:
            one_document = cache.length == 0 or tokens_BT.shape[1] == 1
            return None if one_document else continuation_mask(cache.length, tokens_BT.shape[1], tokens_BT.device)
        if not self.spec.document_mask:
            return None
        if document_ids_BT is None:
            raise ValueError("document_mask is on: give document_ids_BT (all equal for a single document)")
        return causal_document_mask(document_ids_BT)
