"""An HTTP server in the form of OpenAI's API, and one page."""

import asyncio
import json
import logging
import secrets
import time
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from llm_core.model.generate import Sampling
from llm_core.serve.answer import Answer, Chat, Completion
from llm_core.serve.documents import MOST
from llm_core.serve.encoding import Encoding, gone, queue_full
from llm_core.serve.engine import Engine, QueueFullError
from llm_core.serve.guard import Guard
from llm_core.serve.request import Request as Wanted
from llm_core.serve.schema import ApiError, ChatRequest, CompletionRequest, Generation, parsed
from llm_core.serve.served import ContextError, Served

log = logging.getLogger(__name__)

PAGE = Path(__file__).parent / "page"
FILES = {"/": "index.html", "/page.css": "page.css", "/page.js": "page.js"}
BODY_SECONDS = 10.0
"""A client has so long to send its request."""
BODY_BYTES = 256 * 1024
"""The smallest limit of a request's size; the limit grows with the model's context."""
BYTES_PER_TOKEN = 16


def make_app(served: Served, engine: Engine, hosts: Collection[str], addresses: bool = False) -> Guard:
    """The application. ``hosts`` and ``addresses``: see ``Guard``. ``engine`` is closed with it."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        encoding.close()
        await asyncio.to_thread(engine.close)

    # The pages that FastAPI makes of its API load scripts from elsewhere.
    app = FastAPI(lifespan=lifespan, openapi_url=None, docs_url=None, redoc_url=None)
    encoding = Encoding(engine)
    limit = max(BODY_BYTES, BYTES_PER_TOKEN * served.context)
    began = int(time.time())

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        return {"object": "list", "data": [described(served, began)]}

    @app.get("/v1/models/{name:path}")
    async def model(name: str) -> dict[str, Any]:
        _check_name(served, name)
        return described(served, began)

    @app.post("/v1/chat/completions")
    async def chat(request: Request) -> Response:
        arrived = monotonic()
        wanted = parsed(ChatRequest, await _body(request, limit))
        _check_name(served, wanted.model)
        room = wanted.max_tokens if wanted.max_completion_tokens is None else wanted.max_completion_tokens
        turns = [message.turn() for message in wanted.messages]
        cited = await encoding.run(request, arrived, served.cited_chat, turns, wanted.retrieve, room)
        return await _answer(request, arrived, wanted, cited.ids, room, Chat(served, cited))

    @app.post("/v1/completions")
    async def complete(request: Request) -> Response:
        arrived = monotonic()
        wanted = parsed(CompletionRequest, await _body(request, limit))
        _check_name(served, wanted.model)
        room = wanted.max_tokens
        cited = await encoding.run(request, arrived, served.cited_completion, wanted.text(), wanted.retrieve, room)
        return await _answer(request, arrived, wanted, cited.ids, room, Completion(served, cited))

    async def _answer(
        request: Request, arrived: float, wanted: Generation, prompt: list[int], room: int | None, form: Completion
    ) -> Response:
        try:
            room = served.room(prompt, room)
        except ContextError as error:
            raise ApiError(400, str(error), code="context_length_exceeded") from None
        sampling = Sampling(
            room,
            1.0 if wanted.temperature is None else wanted.temperature,
            wanted.top_k,
            wanted.top_p,
            wanted.repetition_penalty or 1.0,
            stop=[(token,) for token in served.chat.stop()],
        )
        seed = secrets.randbits(63) if wanted.seed is None else wanted.seed
        answer = Answer(len(prompt))
        asked = Wanted(prompt, sampling, seed, served.text(wanted.stops()), answer.sink(), arrived)
        try:
            engine.submit(asked)
        except QueueFullError:
            raise queue_full(engine.limits) from None
        if wanted.stream:
            usage = wanted.stream_options is not None and wanted.stream_options.include_usage
            return _Stream(asked, _events(answer, form, usage))
        return JSONResponse(await _collected(request, asked, answer, form))

    @app.get("/{path:path}")
    async def page(request: Request) -> Response:
        name = FILES.get(request.url.path)
        if name is None:
            raise HTTPException(404)
        return FileResponse(PAGE / name)

    @app.exception_handler(ApiError)
    async def told(_: Request, error: ApiError) -> Response:
        return JSONResponse(error.body(), error.status)

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> Response:
        wrong = {404: "there is no such path", 405: f"the method {request.method} is not supported here"}
        return JSONResponse(
            ApiError(error.status_code, wrong.get(error.status_code, "refused")).body(), error.status_code
        )

    @app.exception_handler(Exception)
    async def failed(_: Request, _error: Exception) -> Response:
        return JSONResponse(ApiError(500, "the server failed; its log says how").body(), 500)

    return Guard(app, hosts, addresses)


def described(served: Served, began: int) -> dict[str, Any]:
    """The model as an entry of ``/v1/models``. The fields from ``manifest`` on are not OpenAI's."""
    documents = served.documents
    return {
        "id": served.name,
        "object": "model",
        "created": began,
        "owned_by": "pedigree",
        "manifest": served.identity,
        "context_length": served.context,
        "tuned_for_chat": served.chat.tuned,
        "system": served.chat.system,
        "documents": documents
        and {
            "index": documents.identity,
            "passages": len(documents.searcher),
            "trained_on": documents.trained_on,
            "retrieve": documents.usual,
            "most": MOST,
        },
    }


def _check_name(served: Served, name: str) -> None:
    if name != served.name:
        raise ApiError(
            404, f"model {name[:100]!r} is not served here; it is {served.name!r}", "model", "model_not_found"
        )


async def _body(request: Request, limit: int) -> bytes:
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind != "application/json":
        raise ApiError(415, "the body must be JSON: set the header Content-Type to application/json")
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > limit:
                    raise ApiError(413, f"the body has more than {limit:,} bytes")
    except TimeoutError:
        raise ApiError(408, f"the body did not arrive within {BODY_SECONDS:g} seconds") from None
    except ClientDisconnect:  # nobody reads the answer; without one, the log would have a traceback
        raise ApiError(499, "the client is gone") from None
    return bytes(body)


class _Stream(StreamingResponse):
    """Server-sent events. If nobody listens any longer, the request is cancelled."""

    def __init__(self, asked: Wanted, events: AsyncIterator[str]) -> None:
        super().__init__(events, media_type="text/event-stream")
        self._asked = asked

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        # Not in the generator of events: one that is cancelled before its first event never runs.
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._asked.cancel()


async def _events(answer: Answer, form: Completion, usage: bool) -> AsyncIterator[str]:
    for chunk in form.opening():
        yield _event(chunk)
    async for piece in answer.pieces():
        yield _event(form.chunk(piece.text))
    error = answer.error()
    if error is not None:
        yield _event(error.body())
        return
    yield _event(form.chunk("", answer.reason))
    if usage:
        yield _event(form.usage(answer))
    yield "data: [DONE]\n\n"


async def _collected(request: Request, asked: Wanted, answer: Answer, form: Completion) -> dict[str, Any]:
    """The whole answer. If the client is gone, the request is cancelled."""
    text, left = asyncio.create_task(answer.text()), asyncio.create_task(gone(request))
    try:
        await asyncio.wait({text, left}, return_when=asyncio.FIRST_COMPLETED)
        if not text.done():
            raise ApiError(499, "the client is gone")
        error = answer.error()
        if error is not None:
            raise error
        return form.whole(text.result(), answer)
    finally:
        asked.cancel()
        for task in (text, left):
            task.cancel()


def _event(content: dict[str, Any]) -> str:
    return f"data: {json.dumps(content, ensure_ascii=False)}\n\n"
