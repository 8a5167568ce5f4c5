"""Connections that wait for their client: uvicorn has no limit for a header, the rest of a body, or a slow reader."""

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

SECONDS = 10.0


class BoundedConnection(H11Protocol):
    """Closes a connection whose client holds it up for ``seconds``.

    The client must send a complete header within this time (from the beginning of the connection, or the end of the
    last response) and read what is written. While the server works on a request, nothing is measured.
    """

    seconds = SECONDS
    _limit: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See ``asyncio.Protocol``."""
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        """See ``asyncio.Protocol``."""
        super().data_received(data)
        self._watch()

    def pause_writing(self) -> None:
        """The client does not read."""
        super().pause_writing()
        self._watch()

    def resume_writing(self) -> None:
        """The client reads."""
        super().resume_writing()
        self._forget()
        self._watch()

    def on_response_complete(self) -> None:
        """The next request may come."""
        super().on_response_complete()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """See ``asyncio.Protocol``."""
        super().connection_lost(exc)
        self._forget()

    def _watch(self) -> None:
        cycle: Any = self.cycle
        if cycle is not None and not cycle.response_complete and not self.flow.write_paused:
            self._forget()
        elif self._limit is None:
            self._limit = self.loop.call_later(self.seconds, self.transport.abort)

    def _forget(self) -> None:
        if self._limit is not None:
            self._limit.cancel()
            self._limit = None
