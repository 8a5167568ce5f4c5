"""The decoder: an embedding, the blocks of the specification, and a head."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from llm_core.experiment.model import ModelSpec
from llm_core.model.attending import prepare_mask
from llm_core.model.backends import choose_backend
from llm_core.model.block import Block
from llm_core.model.context import Context, positions_in_documents
from llm_core.model.cross_entropy import linear_cross_entropy
from llm_core.model.masks import Mask
from llm_core.model.mixers.attending import AttendingSpec
from llm_core.model.multi_token import MTPHead, mtp_objective
from llm_core.model.ngram_embedding import NgramEmbedding
from llm_core.model.state import DecodingState
from llm_core.model.superposition import mean_embedding
from llm_core.model.value_embedding import ValueEmbedding


class Losses(NamedTuple):
    """Sums over the tokens of a micro-batch, fp32 scalars on the model's device.

    ``objective`` is differentiated. ``cross_entropy``, in nats of next-token prediction, is logged and compared. They
    are equal unless the model or the training adds other terms to the objective.
    """

    objective: Tensor
    cross_entropy: Tensor


class Decoder(nn.Module):
    """Decoder-only language model. The constructor does not initialise weights: see ``llm_core.model.init``."""

    z_loss: float = 0.0
    loss_clamp: float | None = None
    """Options of the loss in training: see ``linear_cross_entropy``."""
    attention_backend: str = "auto"
    """The kernel for attention: see ``choose_backend``."""

    def __init__(self, spec: ModelSpec, vocab_size: int) -> None:
        super().__init__()
        self.spec = spec
        self.vocab_size = vocab_size
        self.layers = spec.layers
        self.shared = frozenset(layer.kv_from for layer in self.layers) - {None}
        self.embedding = nn.Embedding(vocab_size, spec.d_model)
        self.embedding_norm = spec.norm.module(spec.d_model, spec.bias) if spec.embedding_norm else None
        size, position = spec.embedding_size(), spec.absolute_position
        self.position = None if position is None else position.module(spec.d_model, size)
        self.blocks = nn.ModuleList(Block(spec, layer) for layer in self.layers)
        self.norm = spec.norm.module(spec.d_model, spec.bias)
        self.head_scale = spec.logit_scale / spec.width_ratio()
        # A tied head is not a second parameter, so no copy, cast or file can separate the two.
        self.head = None if spec.tie_embeddings else nn.Linear(spec.d_model, vocab_size, bias=False)
        depth = 0 if spec.multi_token is None else spec.multi_token.depth
        self.further = nn.ModuleList(MTPHead(spec) for _ in range(depth))
        widths = {str(layer.index): layer.mixer.value_width() for layer in self.layers}
        self.value_embeddings = nn.ModuleDict(
            {index: ValueEmbedding(vocab_size, width) for index, width in widths.items() if width}
        )
        ngrams = spec.ngram_embedding
        self.ngram_embedding = None if ngrams is None else NgramEmbedding(ngrams, spec.d_model)
        self.reads_embedding = any(layer.stream_scales is not None for layer in self.layers)

    @property
    def head_weight(self) -> Tensor:
        """The matrix (V, D) from the last hidden state to logits."""
        return self.embedding.weight if self.head is None else self.head.weight

    @property
    def all_blocks(self) -> list[Any]:
        """The blocks, including those of the MTP heads."""
        return [*self.blocks, *(module.block for module in self.further)]

    def forward(
        self,
        tokens_BT: Tensor,
        targets_BT: Tensor | None = None,
        document_ids_BT: Tensor | None = None,
        state: DecodingState | None = None,
        only: int | None = None,
        each: bool = False,
        weigh: Callable[[Tensor], Tensor] | None = None,
    ) -> Tensor | Losses:
        """Logits (B, T, V), or with ``targets_BT`` the losses.

        ``only``: the index of one token whose logits (B, 1, V) are wanted; −1: the last. With ``each``,
        ``cross_entropy`` is (B, T), one value per target. Tokens and targets may instead be bags of tokens, (B, G, S)
        (``llm_core.model.superposition``).

        ``weigh``, in training: from the cross-entropy of every target, (B, T), to its weight in the objective, (B, T).
        ``cross_entropy`` is then (B, T), too. For losses that depend on several targets at once: if weights are its
        derivatives, the objective has its gradient. The objective has no other terms, such as those of experts.

        ``document_ids_BT`` is required if the specification has ``document_mask`` (otherwise ``ValueError``), except
        with a ``state``, which has its own documents. A state advances by T tokens.
        """
        context = self.context(tokens_BT, document_ids_BT, state)
        x_BTD = self._embedded(tokens_BT, context)
        if self.reads_embedding:
            context.embedding_BTD = x_BTD
        kept: dict[int | None, tuple[Tensor, Tensor] | None] = {None: None}
        for layer, block in zip(self.layers, self.blocks, strict=True):
            table = str(layer.index)
            values = (_rows(self.value_embeddings[table], tokens_BT),) if table in self.value_embeddings else ()
            x_BTD, kv = block(x_BTD, kept[layer.kv_from], context, *values)
            if layer.index in self.shared:
                kept[layer.index] = kv
        if state is not None:
            state.advance(context.length)
        if targets_BT is not None:
            if weigh is not None:
                return self._weighed(x_BTD, targets_BT, weigh)
            losses = self._losses(x_BTD, targets_BT, document_ids_BT, context, each)
            return losses._replace(cross_entropy=losses.cross_entropy.view(targets_BT.shape[:2])) if each else losses
        # Select the token before the head: the logits of all tokens may be gigabytes.
        x_BTD = self._scaled(self.norm(x_BTD if only is None else x_BTD[:, only, None]))
        logits_BTV = functional.linear(x_BTD, self.head_weight) if self.head is None else self.head(x_BTD)
        if self.spec.logit_softcap is not None:
            logits_BTV = self.spec.logit_softcap * torch.tanh(logits_BTV / self.spec.logit_softcap)
        return logits_BTV

    def _losses(
        self, x_BTD: Tensor, targets_BT: Tensor, document_ids_BT: Tensor | None, context: Context, each: bool
    ) -> Losses:
        """``x_BTD``: the residual stream after the last block."""
        losses = self._head_losses(self.norm(x_BTD), targets_BT, each)
        if not self.training:
            return losses
        objective = losses.objective
        if self.spec.multi_token is not None:
            if targets_BT.ndim != 2:
                raise ValueError(
                    "multi_token does not go with training.superposition (bags of tokens); remove one of them"
                )
            further = mtp_objective(
                self.further,
                x_BTD,
                targets_BT,
                document_ids_BT,
                context,
                embed=lambda tokens_BT: self.embedding(tokens_BT) * self.spec.embedding_scale,
                objective=lambda normed_BTD, further_BT: self._head_losses(normed_BTD, further_BT).objective,
            )
            objective = objective + self.spec.multi_token.weight * further
        for mixture in self._mixtures():
            objective = objective + mixture.collect()
        return Losses(objective, losses.cross_entropy)

    def _weighed(self, x_BTD: Tensor, targets_BT: Tensor, weigh: Callable[[Tensor], Tensor]) -> Losses:
        normed_BTD = self.norm(x_BTD)
        with torch.no_grad():
            nats_BT = self._head_losses(normed_BTD, targets_BT, each=True).cross_entropy.view(targets_BT.shape)
            weights_BT = weigh(nats_BT)
        for mixture in self._mixtures():
            mixture.collect()  # the counts of tokens, for the selection biases
        return self._head_losses(normed_BTD, targets_BT, weights_BT=weights_BT)._replace(cross_entropy=nats_BT)

    def _head_losses(
        self, normed_BTD: Tensor, targets_BT: Tensor, each: bool = False, weights_BT: Tensor | None = None
    ) -> Losses:
        objective, cross_entropy = linear_cross_entropy(
            self._scaled(normed_BTD).flatten(0, 1),
            self.head_weight,
            targets_BT.flatten(0, 1),
            softcap=self.spec.logit_softcap,
            z_loss=self.z_loss,
            clamp=self.loss_clamp,
            each=each,
            weights_N=None if weights_BT is None else weights_BT.flatten(),
        )
        return Losses(objective, cross_entropy)

    def _scaled(self, normed_BTD: Tensor) -> Tensor:
        return normed_BTD if self.head_scale == 1 else normed_BTD * self.head_scale

    def _mixtures(self) -> list[Any]:
        layers = [*self.layers, *[self.layers[-1]] * len(self.further)]
        return [
            block.feed_forward
            for layer, block in zip(layers, self.all_blocks, strict=True)
            if layer.feed_forward is not None and layer.feed_forward.routes
        ]

    def loop_experts(self) -> None:
        """Make GPUs multiply one expert at a time instead of all experts in one kernel."""
        for mixture in self._mixtures():
            mixture.one_kernel = False

    def after_step(self, total: Callable[[Tensor], Tensor], skipped: Tensor) -> None:
        """Update the experts' selection biases after an optimiser step.

        ``total`` sums a tensor over the ranks. ``skipped`` (0-d) is not 0 if the step was skipped.
        """
        mixtures = self._mixtures()
        if mixtures:
            counts_LX = total(torch.stack([mixture.take_counts() for mixture in mixtures]))
            for mixture, counts_X in zip(mixtures, counts_LX, strict=True):
                mixture.move_bias(counts_X, skipped)

    def context(self, tokens_BT: Tensor, document_ids_BT: Tensor | None, state: DecodingState | None) -> Context:
        """The data that all layers share in a pass over ``tokens_BT``."""
        T = tokens_BT.shape[1]
        start = 0 if state is None else state.length
        documents_BS = None if state is None else state.documents_BS
        if documents_BS is not None:
            missing = start + T - documents_BS.shape[1]
            if missing > 0:  # a generated token belongs to the document before it
                assert state is not None
                documents_BS = torch.cat((documents_BS, documents_BS[:, -1:].expand(-1, missing)), dim=1)
                state.documents_BS = documents_BS
            documents_BS = documents_BS[:, : start + T]
        elif state is None and self.spec.document_mask:
            if document_ids_BT is None:
                raise ValueError("document_mask is on: give document_ids_BT (all equal for a single document)")
            documents_BS = document_ids_BT
        context = Context(start, T, documents_BS, state=state, training=self.training)
        device, position = tokens_BT.device, start if state is None else state.position()
        dtype = self.embedding.weight.dtype
        if torch.is_autocast_enabled(device.type):
            dtype = torch.get_autocast_dtype(device.type)
        half, wanted = dtype in (torch.bfloat16, torch.float16), self.attention_backend
        if wanted == "varlen" and not half and not self.training:
            wanted = "auto"  # half-precision runs have some passes in fp32: ``llm_core.train.leak_detection``
        backend = choose_backend(
            self.spec, device.type, wanted, decoding=state is not None, layers=self.layers, half=half
        )
        for layer, block in zip(self.layers, self.blocks, strict=True):
            mixer: Any = block.mixer
            if layer.mixer.position_of() is not None and mixer.position.key not in context.tables:
                context.tables[mixer.position.key] = mixer.position.tables(position, T, device)
            if isinstance(layer.mixer, AttendingSpec) and mixer.mask_key not in context.masks:
                window = layer.mixer.window
                keys = start + T if window is None else min(start, window - 1) + T
                documents = None if documents_BS is None else documents_BS[:, start + T - keys :]
                mask = Mask(T, keys, window, documents, mixer.position.slopes(device))
                context.masks[mixer.mask_key] = prepare_mask(mask, backend, device, dtype)
        return context

    def _embedded(self, tokens_BT: Tensor, context: Context) -> Tensor:
        x_BTD = _rows(self.embedding, tokens_BT)
        if self.spec.embedding_scale != 1:
            x_BTD = x_BTD * self.spec.embedding_scale
        if self.embedding_norm is not None:
            x_BTD = self.embedding_norm(x_BTD)
        if self.ngram_embedding is not None:
            x_BTD = x_BTD + self.ngram_embedding(tokens_BT, context)
        if self.position is not None:
            if context.documents_BS is None:
                places = torch.arange(context.start, context.start + context.length, device=tokens_BT.device)
            else:
                places = positions_in_documents(context.documents_BS)[:, context.start :]
            x_BTD = x_BTD + self.position(places)
        return functional.dropout(x_BTD, self.spec.dropout, self.training) if self.spec.dropout else x_BTD


def _rows(table: Any, tokens_BT: Tensor) -> Tensor:
    """(B, T, channels): the row of each token, or the mean row of each bag of tokens (B, G, S)."""
    rows: Tensor = table(tokens_BT) if tokens_BT.ndim == 2 else mean_embedding(table, tokens_BT)
    return rows
