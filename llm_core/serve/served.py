"""A model with what it takes to talk to it: tokenizer, chat template, system line, length, documents."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from llm_core.chat.model_chat import ModelChat, model_chat
from llm_core.chat.template import ChatTemplate
from llm_core.errors import PedigreeError
from llm_core.model.decoder import Decoder
from llm_core.model.decoding_layout import lay_out_for_decoding
from llm_core.model.files import load_model
from llm_core.serve.documents import ANSWER_SHARE, Cited, Documents
from llm_core.serve.text import TextStream
from llm_core.tokens.tokenizer import vocabulary_size


class ContextError(PedigreeError):
    """A prompt and its answer do not fit into the context."""


@dataclass(frozen=True)
class Served:
    """A loaded model. ``name``: the one that requests give. ``identity``: of the artifact that it was loaded from.

    ``chat``: how one talks to it. ``context``: tokens of a prompt and its answer together. ``documents``: what answers
    may cite.
    """

    name: str
    identity: str
    model: Decoder
    chat: ModelChat
    context: int
    documents: Documents | None = None

    @property
    def template(self) -> ChatTemplate:
        """The chat template."""
        return self.chat.template

    def completion_prompt(self, text: str) -> list[int]:
        """The ids of a text at the beginning of a document. Special tokens that are spelled out in it are text."""
        return [self.template.eot, *self.template.tokenizer.encode(text, add_special_tokens=False).ids]

    def cited_completion(self, text: str, retrieve: int | None, room: int | None) -> Cited:
        """``completion_prompt`` with at most ``retrieve`` passages before the text. ``room``: tokens of the answer."""
        return self._cited(text, retrieve, room, self.completion_prompt)

    def cited_chat(self, messages: Sequence[Mapping[str, Any]], retrieve: int | None, room: int | None) -> Cited:
        """``chat.prompt`` with at most ``retrieve`` passages in the last turn, before what the user wrote."""

        def encode(text: str) -> list[int]:
            return self.chat.prompt([*messages[:-1], {**messages[-1], "content": text}])

        if retrieve is None or not messages:
            return Cited(self.chat.prompt(messages))
        return self._cited(messages[-1]["content"], retrieve, room, encode)

    def _cited(
        self, question: str, retrieve: int | None, room: int | None, encode: Callable[[str], list[int]]
    ) -> Cited:
        ids = encode(question)
        if retrieve is None:
            return Cited(ids)
        if self.documents is None:
            raise PedigreeError(f"retrieve: {self.name} is served without an index of documents (docs/retrieval.md)")
        self.room(ids, room)  # before a search for all of it
        most = self.context - (self.context // ANSWER_SHARE if room is None else room)
        return self.documents.cited(question, retrieve, encode, most)

    def room(self, prompt: Sequence[int], wanted: int | None) -> int:
        """How many tokens an answer may have: ``wanted``, or all that the context leaves. Raises ``ContextError``."""
        left = self.context - len(prompt)
        if left < 1:
            raise ContextError(
                f"the prompt has {len(prompt)} tokens, and the model reads {self.context} with the answer: shorten it"
            )
        if wanted is not None and wanted > left:
            raise ContextError(
                f"the prompt has {len(prompt)} tokens, which leaves {left} of the model's {self.context}, and "
                f"{wanted} new ones are wanted: lower max_tokens or shorten the prompt"
            )
        return wanted or left

    def text(self, stop: Sequence[str] = ()) -> TextStream:
        """The text of an answer."""
        decode: Callable[[list[int]], str] = lambda ids: self.template.tokenizer.decode(  # noqa: E731
            ids, skip_special_tokens=False
        )
        return TextStream(decode, stop)


def load_served(
    model: Path,
    tokenizer: Path,
    *,
    name: str,
    identity: str,
    trained_length: int,
    documents: Documents | None = None,
    device: torch.device | str = "cpu",
) -> Served:
    """The model in the folder ``model``. ``tokenizer``: its ``tokenizer.json``. ``trained_length``: tokens of its
    training sequences, which the context never exceeds.

    Nothing is read from the files afterwards, so they may be replaced. Raises ``PedigreeError``.
    """
    network, info = load_model(model, device)
    for tensor in [*network.parameters(), *network.buffers()]:
        tensor.data = tensor.data.clone()  # a loaded tensor may be a view of the file
    lay_out_for_decoding(network)
    chat = model_chat(model, tokenizer)
    if (size := vocabulary_size(chat.template.tokenizer)) > info["vocab_size"]:
        raise PedigreeError(f"{tokenizer}: has {size} ids, but the model has {info['vocab_size']}")
    longest = network.spec.longest()
    context = trained_length if longest is None else min(longest, trained_length)
    return Served(name, identity, network, chat, context, documents)
