"""A small model with random weights, and a server of it in a thread."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import openai
import pytest
import torch
import uvicorn

from llm_core.experiment.tokens import TokenizerSpec
from llm_core.model.build import build_model
from llm_core.model.files import save_model
from llm_core.serve.app import make_app
from llm_core.serve.connections import BoundedConnection
from llm_core.serve.engine import Engine, Limits
from llm_core.serve.guard import LOOPBACK
from llm_core.serve.served import Served, load_served
from llm_core.tokens.learn import train_tokenizer
from tests.model.shapes import spec

NAME, IDENTITY, CONTEXT = "micro/pretrained_model", "0123456789abcdef0123456789abcdef", 128
TEXTS = [f"User: which number follows {number}?\nAssistant: {number + 1} follows {number}.\n" for number in range(300)]


def load(folder: Path) -> Served:
    return load_served(folder, folder / "tokenizer.json", name=NAME, identity=IDENTITY, trained_length=CONTEXT)


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("served")
    tokenizer = train_tokenizer(TEXTS, TokenizerSpec(vocab_size=300))
    tokenizer.save(str(folder / "tokenizer.json"))
    shape = spec(mixer={"window": 24}, n_layers=3)
    model = build_model(shape, 300, generator=torch.Generator().manual_seed(0))
    save_model(model, shape, 300, folder)
    return folder


@pytest.fixture(scope="session")
def served(model_folder) -> Served:
    return load(model_folder)


@dataclass
class Live:
    """A server and clients for it."""

    url: str
    engine: Engine

    def client(self) -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key="none", max_retries=0, timeout=30)

    def post(self, path: str, **options) -> httpx.Response:
        return httpx.post(f"{self.url}{path}", timeout=30, **options)


@contextmanager
def running(served: Served, **limits: float) -> Iterator[Live]:
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen()
    engine = Engine(served.model, Limits(**limits))
    config = uvicorn.Config(
        make_app(served, engine, LOOPBACK),
        log_level="error",
        timeout_graceful_shutdown=1,
        http=BoundedConnection,
        ws="none",
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    try:
        yield Live(f"http://127.0.0.1:{listening.getsockname()[1]}", engine)
    finally:
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive()


@pytest.fixture(scope="session")
def live(served) -> Iterator[Live]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with running(served) as server:
        yield server
    torch.set_num_threads(before)
