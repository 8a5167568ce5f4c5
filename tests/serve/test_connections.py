"""Connections whose clients hold them up, on a server with a trivial application."""

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest
import uvicorn

from llm_core.serve.connections import BoundedConnection

SECONDS = 0.3
LARGE = b"x" * 2**24  # more than the buffers of both ends


class Short(BoundedConnection):
    seconds = SECONDS


async def application(scope, receive, send) -> None:
    if scope["path"] == "/slow":
        await asyncio.sleep(2 * SECONDS)
    body = LARGE if scope["path"] == "/large" else b"done"
    length = (b"content-length", b"%d" % len(body))
    await send({"type": "http.response.start", "status": 200, "headers": [length]})
    for start in range(0, len(body), 2**16):
        more = start + 2**16 < len(body)
        await send({"type": "http.response.body", "body": body[start : start + 2**16], "more_body": more})


@pytest.fixture(scope="module")
def server() -> Iterator[uvicorn.Server]:
    config = uvicorn.Config(application, port=0, log_level="critical", http=Short, ws="none", lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield server
    server.should_exit = True
    thread.join(20)
    assert not thread.is_alive()


@pytest.fixture
def connected(server: uvicorn.Server) -> Iterator[Callable[..., socket.socket]]:
    opened: list[socket.socket] = []

    def connect(first: bytes) -> socket.socket:
        opened.append(socket.create_connection(server.servers[0].sockets[0].getsockname(), timeout=10))
        opened[-1].sendall(first)
        return opened[-1]

    yield connect
    for client in opened:
        client.close()


def read(client: socket.socket) -> bytes:
    """All until the server closes."""
    found = bytearray()
    try:
        while part := client.recv(2**16):
            found += part
    except ConnectionResetError:
        pass
    return bytes(found)


@pytest.mark.parametrize(
    ("first", "again", "answer"),
    [
        (b"", b"", b""),
        (b"GET / HTT", b"", b""),
        (b"GET / HTTP/1.1\r\nHost: a\r\n", b"X: y\r\n", b""),  # a header that goes on
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n", b"x", b"done"),  # a body nobody waits for
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"", b"done"),  # before uvicorn's own 5 seconds
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / H", b"T", b"done"),
    ],
)
def test_a_client_that_does_not_go_on_is_closed(connected, first, again, answer) -> None:
    client, began = connected(first), time.monotonic()
    while again and time.monotonic() < began + 10:
        try:
            client.sendall(again)
        except (BrokenPipeError, ConnectionResetError):
            break
        time.sleep(0.05)
    assert again or read(client)[-4:] == answer
    assert time.monotonic() - began < 4


def test_a_client_that_does_not_read_is_closed(server, connected) -> None:
    client = connected(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
    deadline = time.monotonic() + 10
    while not server.server_state.connections:
        time.sleep(0.01)
    while server.server_state.connections:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert len(read(client)) < len(LARGE)


def test_a_slow_answer_and_a_client_that_reads_are_not_cut(connected) -> None:
    slow = connected(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n" * 2)
    assert read(slow).count(b"done") == 2
    assert read(connected(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n")).endswith(LARGE)
