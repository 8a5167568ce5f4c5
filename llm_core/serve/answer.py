"""An answer of the engine, in the forms of OpenAI's API."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from typing import Any

from llm_core.serve.documents import Cited
from llm_core.serve.request import End, Piece, Sink
from llm_core.serve.schema import ApiError
from llm_core.serve.served import Served


class Answer:
    """What the engine's thread sends, for the event loop in which this is made. ``prompt``: its tokens."""

    def __init__(self, prompt: int) -> None:
        self.prompt = prompt
        self.end: End | None = None
        self._events: asyncio.Queue[Piece | End] = asyncio.Queue()  # at most one piece per token
        self._loop = asyncio.get_running_loop()

    def sink(self) -> Sink:
        """Called by the other thread."""

        def sink(event: Piece | End) -> None:
            self._loop.call_soon_threadsafe(self._events.put_nowait, event)

        return sink

    async def pieces(self) -> AsyncIterator[Piece]:
        """The pieces as they come; ``end`` is set after the last."""
        while not isinstance(event := await self._events.get(), End):
            yield event
        self.end = event

    async def text(self) -> str:
        """All of it."""
        return "".join([piece.text async for piece in self.pieces()])

    @property
    def reason(self) -> str:
        """``stop`` or ``length``."""
        assert self.end is not None
        return self.end.reason

    def error(self) -> ApiError | None:
        """Why there is no whole answer."""
        return {
            "timeout": ApiError(504, "the answer took too long", code="timeout"),
            "cancelled": ApiError(503, "the server is stopping", code="cancelled"),
            "error": ApiError(500, "the model failed on this request; the server's log says how"),
        }.get(self.reason)

    def usage(self) -> dict[str, int]:
        """Tokens."""
        assert self.end is not None
        made = self.end.tokens
        return {"prompt_tokens": self.prompt, "completion_tokens": made, "total_tokens": self.prompt + made}


class Completion:
    """The form of ``/v1/completions``."""

    name, prefix, chunked = "text_completion", "cmpl", "text_completion"

    def __init__(self, served: Served, cited: Cited) -> None:
        self._cited = cited.fields()
        self._head = {
            "id": f"{self.prefix}-{secrets.token_hex(12)}",
            "created": int(time.time()),
            "model": served.name,
            "system_fingerprint": served.identity,
        }

    def whole(self, text: str, answer: Answer) -> dict[str, Any]:
        """A response."""
        choice = {"index": 0, **self._content(text), "logprobs": None, "finish_reason": answer.reason}
        return {**self._head, "object": self.name, "choices": [choice], "usage": answer.usage(), **self._cited}

    def chunk(self, text: str, reason: str | None = None) -> dict[str, Any]:
        """A part of a stream. The last one has the ``reason``, and the citations."""
        choice = {"index": 0, **self._delta(text), "logprobs": None, "finish_reason": reason}
        return {**self._head, "object": self.chunked, "choices": [choice], **(self._cited if reason else {})}

    def usage(self, answer: Answer) -> dict[str, Any]:
        """The last part of a stream."""
        return {**self._head, "object": self.chunked, "choices": [], "usage": answer.usage()}

    def opening(self) -> list[dict[str, Any]]:
        """What comes before the text of a stream."""
        return []

    def _content(self, text: str) -> dict[str, Any]:
        return {"text": text}

    def _delta(self, text: str) -> dict[str, Any]:
        return {"text": text}


class Chat(Completion):
    """The form of ``/v1/chat/completions``."""

    name, prefix, chunked = "chat.completion", "chatcmpl", "chat.completion.chunk"

    def opening(self) -> list[dict[str, Any]]:
        """Whose text it is."""
        chunk = self.chunk("")
        chunk["choices"][0]["delta"] = {"role": "assistant", "content": ""}
        return [chunk]

    def _content(self, text: str) -> dict[str, Any]:
        return {"message": {"role": "assistant", "content": text, "refusal": None}}

    def _delta(self, text: str) -> dict[str, Any]:
        return {"delta": {"content": text} if text else {}}
