"""Prompts are encoded, and documents searched, beside the event loop: a long text takes a while."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import Any

from fastapi import Request

from llm_core.errors import PedigreeError
from llm_core.serve.documents import Cited
from llm_core.serve.engine import Engine, Limits
from llm_core.serve.schema import ApiError
from llm_core.serve.served import ContextError

THREADS = 2


def queue_full(limits: Limits) -> ApiError:
    """As many requests wait as are allowed."""
    return ApiError(429, f"{limits.waiting} requests wait already: try again later", code="queue_full")


async def gone(request: Request) -> None:
    """Returns when the client has left. Its body must have been read before."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


class Encoding:
    """A few threads. What waits for one is a waiting request of ``engine``, with the same bound and time."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._threads = ThreadPoolExecutor(THREADS, "encoding")
        self._open = 0

    def close(self) -> None:
        """Begin nothing more."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def run(self, request: Request, arrived: float, encode: Callable[..., Cited], *what: Any) -> Cited:
        """``encode(*what)``; nothing is begun for a client that is gone. Raises ``ApiError``."""
        limits, (answered, waiting) = self._engine.limits, self._engine.load()
        if self._open + answered + waiting >= limits.rows + limits.waiting:
            raise queue_full(limits)
        self._open += 1
        work = asyncio.wrap_future(self._threads.submit(encode, *what))
        left = asyncio.create_task(gone(request))
        try:
            rest = arrived + limits.seconds - monotonic()
            both: set[asyncio.Future[Any]] = {work, left}
            await asyncio.wait(both, timeout=max(rest, 0), return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                return work.result()
            if left.done():
                raise ApiError(499, "the client is gone")
            raise ApiError(504, "the answer took too long", code="timeout")
        except ContextError as error:
            raise ApiError(400, str(error), code="context_length_exceeded") from None
        except PedigreeError as error:
            raise ApiError(400, str(error)) from None
        finally:
            self._open -= 1
            work.cancel()  # also in the queue of the threads
            left.cancel()
