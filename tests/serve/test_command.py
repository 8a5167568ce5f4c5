"""``pedigree serve`` from the socket to the end, without the search for the artifact."""

import threading

import httpx
import pytest
import uvicorn

from llm_core.errors import PedigreeError
from pipelines import talking
from tests.serve.conftest import IDENTITY, NAME
from tests.serve.test_engine import wait_for


@pytest.mark.parametrize(
    ("host", "allowed", "inside"), [("127.0.0.1", (), True), ("0.0.0.0", ("Models.Example.ORG",), False)]
)
def test_it_listens_tells_where_and_ends(served, monkeypatch, host, allowed, inside) -> None:
    servers: list[uvicorn.Server] = []
    lines: list[str] = []

    class Watched(uvicorn.Server):
        def __init__(self, config: uvicorn.Config) -> None:
            super().__init__(config)
            servers.append(self)

    monkeypatch.setattr(uvicorn, "Server", Watched)
    monkeypatch.setattr(talking, "open_served", lambda *_: served)
    options = {"host": host, "port": 0, "rows": 2, "allowed": allowed, "index": None, "tell": lines.append}
    thread = threading.Thread(target=talking.serve, args=(None, "pretrained_model"), kwargs=options)
    thread.start()
    wait_for(lambda: bool(servers) and servers[0].started)
    try:
        assert lines[0].startswith(f"{NAME} (artifact {IDENTITY}): http://{host}:")
        assert len(lines) == (1 if inside else 2)
        url = f"http://127.0.0.1:{lines[0].rpartition(':')[2].split('/')[0]}/v1/models"
        for name, found in (("localhost", 200), ("10.1.2.3", 421 if inside else 200), ("evil.example", 421)):
            assert httpx.get(url, headers={"Host": name}).status_code == found
        for name in ("models.example.org", "MODELS.example.org"):
            assert httpx.get(url, headers={"Host": name}).status_code == (421 if inside else 200)
    finally:
        servers[0].should_exit = True
        thread.join(20)
    assert not thread.is_alive()


@pytest.mark.parametrize("name", ["http://mybox.local", "mybox.local:8000"])
def test_a_name_with_more_than_a_name_is_told(name) -> None:
    options = {"host": "127.0.0.1", "port": 0, "rows": 2, "index": None, "tell": print}
    with pytest.raises(PedigreeError, match=f"--allow-host {name}: give the name alone"):
        talking.serve(None, None, allowed=(name,), **options)
