"""What a request must be before anything reads it: for this host, from this page or from a program."""

import ipaddress
import json
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from llm_core.serve.schema import ApiError

Scope = MutableMapping[str, Any]
App = Callable[[Scope, Any, Any], Awaitable[None]]

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_HEADERS = (
    # The page needs nothing from elsewhere, and no other page may show it in a frame.
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        b"img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
)


class Guard:
    """Refuses requests with a foreign ``Host`` or ``Origin``, and adds headers to all responses.

    A page of another site could reach a server on this machine through a name that it lets point to 127.0.0.1 (DNS
    rebinding): its requests have that name as ``Host``. It could also send requests without reading the answers: they
    have its ``Origin``. ``hosts``: the names that are allowed. ``addresses``: whether every numeric address is, because
    the server listens to others than this machine. No name points to a numeric ``Host``. Small and capital letters are
    equal.
    """

    def __init__(self, app: App, hosts: Collection[str], addresses: bool) -> None:
        self.app, self.hosts, self.addresses = app, frozenset(host.lower().strip("[]") for host in hosts), addresses

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        """See the ASGI specification."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return

        async def with_headers(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *_HEADERS]
            await send(message)

        error = self._error(scope)
        if error is None:
            await self.app(scope, receive, with_headers)
            return
        await with_headers(
            {"type": "http.response.start", "status": error.status, "headers": [(b"content-type", b"application/json")]}
        )
        await with_headers({"type": "http.response.body", "body": json.dumps(error.body()).encode()})

    def _error(self, scope: Scope) -> ApiError | None:
        headers = [(name.lower(), value.decode("latin-1")) for name, value in scope["headers"]]
        hosts = [value for name, value in headers if name == b"host"]
        if len(hosts) != 1 or not self._allowed("//" + hosts[0]):
            told = repr(hosts[0])[:100] if hosts else "missing"
            advice = "allow it with --allow-host if it is yours"
            return ApiError(421, f"the Host header is {told}, which is not a name of this server; {advice}")
        for origin in (value for name, value in headers if name == b"origin"):
            if not self._allowed(origin) or urlsplit(origin).netloc.lower() != hosts[0].lower():
                return ApiError(403, "requests from pages of other sites are refused")
        return None

    def _allowed(self, address: str) -> bool:
        try:
            host = urlsplit(address).hostname or ""  # in small letters
            if host in self.hosts:
                return True
            return self.addresses and bool(ipaddress.ip_address(host))
        except ValueError:
            return False
