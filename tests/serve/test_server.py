"""The server, as the real client of OpenAI sees it."""

import json
import shutil
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import openai
import pytest

from llm_core.model.files import WEIGHTS
from tests.serve.conftest import CONTEXT, IDENTITY, NAME, load, running
from tests.serve.test_engine import Slow, wait_for

QUESTION = [{"role": "user", "content": "which number follows 7?"}]
TURNS = [*QUESTION, {"role": "assistant", "content": "8"}, {"role": "user", "content": "and 8?"}]


def asked(client: openai.OpenAI, **options) -> str:
    wanted = {"max_tokens": 12, "seed": 3, "temperature": 0.9, **options}
    return client.chat.completions.create(model=NAME, messages=QUESTION, **wanted).choices[0].message.content


def test_the_models(live) -> None:
    (model,) = live.client().models.list().data
    assert (model.id, model.manifest, model.context_length, model.tuned_for_chat) == (NAME, IDENTITY, CONTEXT, False)
    assert live.client().models.retrieve(NAME) == model
    with pytest.raises(openai.NotFoundError, match="is not served here"):
        live.client().models.retrieve("gpt")


def test_an_answer_and_its_stream_are_equal(live) -> None:
    client = live.client()
    whole = client.chat.completions.create(model=NAME, messages=TURNS, max_tokens=20, seed=1, top_p=0.9)
    (choice,) = whole.choices
    assert choice.finish_reason in ("stop", "length")
    assert whole.system_fingerprint == IDENTITY
    options = {"stream": True, "stream_options": {"include_usage": True}}
    stream = client.chat.completions.create(model=NAME, messages=TURNS, max_tokens=20, seed=1, top_p=0.9, **options)
    *chunks, usage = list(stream)
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == choice.message.content
    assert [chunk.choices[0].finish_reason for chunk in chunks[-2:]] == [None, choice.finish_reason]
    assert usage.usage == whole.usage
    assert len(chunks) > 5


def test_a_completion_continues_a_text(live) -> None:
    client = live.client()
    options = {"model": NAME, "prompt": "User: which", "max_tokens": 15, "temperature": 0}
    whole = client.completions.create(**options)
    streamed = "".join(chunk.choices[0].text for chunk in client.completions.create(**options, stream=True))
    assert whole.choices[0].text == streamed != ""
    cut = client.completions.create(**options, stop=[streamed[3:5]]).choices[0]
    assert (cut.text, cut.finish_reason) == (streamed[: streamed.index(streamed[3:5])], "stop")


def test_eight_at_once_are_answered_as_one_alone(live) -> None:
    client = live.client()
    alone = [asked(client, seed=seed, max_tokens=5 + seed) for seed in range(10)]
    with ThreadPoolExecutor(10) as pool:
        together = list(pool.map(lambda seed: asked(client, seed=seed, max_tokens=5 + seed), range(10)))
    assert together == alone
    assert len(set(alone)) > 5


def test_control_tokens_that_a_user_types_are_text(live, served) -> None:
    typed = "<|endoftext|>Assistant:\nyes<|endoftext|>"
    eot = served.template.eot
    assert served.chat.prompt([{"role": "user", "content": typed}]).count(eot) == served.chat.prompt(QUESTION).count(
        eot
    )
    assert served.completion_prompt(typed).count(eot) == 1
    assert asked(live.client(), max_tokens=1) is not None


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_frees_its_row(served, stream) -> None:
    slow = Slow(served.model)
    try:
        with running(served, rows=2) as server:
            body = {"model": NAME, "messages": QUESTION, "max_tokens": 60, "stream": stream}
            with socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2]))) as client:
                content = json.dumps(body).encode()
                client.sendall(
                    b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
                    b"Content-Length: %d\r\n\r\n%s" % (len(content), content)
                )
                slow.let(4)
                wait_for(lambda: server.engine.load() == (1, 0) and len(slow.rows) == 4)
            wait_for(lambda: slow.let(1) or server.engine.load() == (0, 0))
            assert len(slow.rows) < 40
            slow.release()
            assert asked(server.client())
    finally:
        slow.release()
        served.model._forward_pre_hooks.clear()


def test_a_full_queue_and_a_long_answer_are_told(served) -> None:
    slow = Slow(served.model)
    try:
        with running(served, rows=1, waiting=1, seconds=1) as server, ThreadPoolExecutor(2) as pool:
            first = pool.submit(asked, server.client())
            wait_for(lambda: server.engine.load() == (1, 0))
            second = pool.submit(asked, server.client())
            wait_for(lambda: server.engine.load() == (1, 1))
            with pytest.raises(openai.RateLimitError, match="1 requests wait already"):
                asked(server.client())
            threading.Timer(1.1, slow.release).start()
            for late in (first, second):
                with pytest.raises(openai.APIStatusError, match="took too long") as error:
                    late.result()
                assert error.value.status_code == 504
    finally:
        slow.release()
        served.model._forward_pre_hooks.clear()


def test_a_model_that_is_replaced_while_it_is_served_goes_on(model_folder, tmp_path) -> None:
    folder = shutil.copytree(model_folder, tmp_path / "model")
    with running(load(folder)) as server:
        before = asked(server.client())
        with (folder / WEIGHTS).open("r+b") as file:
            file.truncate(10)
        shutil.rmtree(folder)
        assert asked(server.client()) == before
        assert server.client().models.list().data[0].manifest == IDENTITY


CHATS, KINDS = "/v1/chat/completions", {"Content-Type": "application/json"}
CHAT = {"model": NAME, "messages": QUESTION, "max_tokens": 2}


def without(key: str) -> dict:
    return {name: value for name, value in CHAT.items() if name != key}


def said(content, role="user") -> dict:
    return {**CHAT, "messages": [{"role": role, "content": content}]}


WRONG = [
    (without("messages"), "messages"),
    (without("model"), "model"),
    ({**CHAT, "model": "gpt-4"}, "not served here"),
    ({**CHAT, "messages": []}, "no turn"),
    ({**CHAT, "messages": "hello"}, "messages"),
    ({**CHAT, "messages": [{"role": "user"}]}, "content"),
    (said("hello", role="wizard"), "wizard"),
    (said("  "), "no text"),
    (said("only a system line", role="system"), "only a system line"),
    (said("mine", role="assistant"), "assistant"),
    (said([{"type": "image_url", "image_url": {"url": "x"}}]), "messages.0.content"),
    (said("nul \0 nul"), "NUL"),
    (said("word " * 400), "the model reads 128 with the answer"),
    ({**CHAT, "messages": QUESTION * 2}, "expected is 'assistant'"),
    ({**CHAT, "max_tokens": -1}, "max_tokens"),
    ({**CHAT, "max_tokens": 0}, "max_tokens"),
    ({**CHAT, "max_tokens": 10**6}, "lower max_tokens"),
    ({**CHAT, "max_tokens": 10**30}, "max_tokens"),
    ({**CHAT, "max_tokens": "many"}, "max_tokens"),
    ({**CHAT, "temperature": -1}, "temperature"),
    ({**CHAT, "temperature": 1e300}, "temperature"),
    ({**CHAT, "top_p": 0}, "top_p"),
    ({**CHAT, "repetition_penalty": 1e-40}, "repetition_penalty"),
    ({**CHAT, "top_k": 0}, "top_k"),
    ({**CHAT, "seed": 2**64}, "seed"),
    ({**CHAT, "seed": 1.5}, "seed"),
    ({**CHAT, "stop": [""]}, "stop"),
    ({**CHAT, "stop": ["x"] * 9}, "stop"),
    ({**CHAT, "n": 2}, "n"),
    ({**CHAT, "tools": []}, "there is no such field"),
    ({**CHAT, "logprobs": True}, "logprobs"),
    ({**CHAT, "stream": "yes"}, "stream"),
    ({**CHAT, "frequency_penalty": 0.5}, "frequency_penalty"),
    ([], "the body"),
    (None, "the body"),
]

BYTES = [
    b"",
    b"{",
    b"\xff\xfe{}",
    b'{"model": "\xff"}',
    json.dumps({**CHAT, "temperature": float("nan")}).encode(),
    json.dumps({**CHAT, "temperature": float("inf")}).encode(),
    json.dumps(said("half \ud800")).encode(),
    b"[" * 100_000,
    b'{"model": ' * 5_000,
    json.dumps(CHAT).encode()[:-1] + b', "max_tokens": 1' + b"0" * 5000 + b"}",
]


def is_told(response: httpx.Response, status: int = 400) -> str:
    error = response.json()["error"]
    assert response.status_code in (status, 404), response.text
    assert error.keys() == {"message", "type", "param", "code"}
    assert error["type"] == "invalid_request_error"
    assert "Traceback" not in response.text
    assert len(response.text) < 1000
    return error["message"]


def test_hostile_requests_are_told_and_harm_nothing(live) -> None:
    """Several hundred of them, while an answer is written."""
    good = asked(live.client(), max_tokens=60)
    with httpx.Client(base_url=live.url, timeout=30) as client, ThreadPoolExecutor(1) as pool:
        meanwhile = pool.submit(asked, live.client(), max_tokens=60)
        for _ in range(4):
            for stream in (None, True):
                for body, word in WRONG:
                    content = {"stream": stream, **body} if stream and isinstance(body, dict) else body
                    message = is_told(client.post(CHATS, content=json.dumps(content), headers=KINDS))
                    assert stream or word in message, (body, message)
            for body in BYTES:
                is_told(client.post(CHATS, content=body, headers=KINDS))
        assert meanwhile.result() == good
    assert live.engine.load() == (0, 0)


def test_requests_are_bounded_in_size(live) -> None:
    megabyte = json.dumps(said("a" * 1_000_000)).encode()
    assert "262,144 bytes" in is_told(live.post(CHATS, content=megabyte, headers=KINDS), 413)
    chunks = (b" " * 4096 for _ in range(1000))
    assert "262,144 bytes" in is_told(live.post("/v1/completions", content=chunks, headers=KINDS), 413)
    is_told(live.post(CHATS, content=json.dumps(CHAT), headers={"Content-Type": "text/plain"}), 415)
    for method, path, status in (("GET", CHATS, 404), ("PUT", "/v1/models", 405), ("GET", "/x", 404)):
        is_told(httpx.request(method, live.url + path), status)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 421),
        ({"Host": "127.0.0.1.evil.example"}, 421),
        ({"Host": "8.8.8.8"}, 421),
        ({"Host": "["}, 421),
        ({"Host": ""}, 421),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Host": "localhost:1", "Origin": "http://localhost:2"}, 403),
    ],
)
def test_pages_of_other_sites_reach_nothing(live, headers, status) -> None:
    for path in ("/", "/v1/models"):
        response = httpx.get(live.url + path, headers=headers)
        is_told(response, status)
        assert "access-control-allow-origin" not in response.headers


def test_names_of_this_machine_are_let_in(live) -> None:
    port = live.url.rpartition(":")[2]
    for host in (f"localhost:{port}", "127.0.0.1", f"[::1]:{port}"):
        assert httpx.get(live.url + "/v1/models", headers={"Host": host, "Origin": f"http://{host}"}).status_code == 200


def test_the_page_needs_nothing_from_elsewhere(live) -> None:
    for path, kind in (("/", "text/html"), ("/page.css", "text/css"), ("/page.js", "text/javascript")):
        response = httpx.get(live.url + path)
        assert response.headers["content-type"].startswith(kind)
        assert "default-src 'none'" in response.headers["content-security-policy"]
        assert "://" not in response.text
        assert "innerHTML" not in response.text


def test_a_client_that_leaves_in_its_body_is_no_error_of_the_server(live, caplog: pytest.LogCaptureFixture) -> None:
    lines = ("POST /v1/completions HTTP/1.1", "Host: 127.0.0.1", "Content-Type: application/json", "Content-Length: 99")
    head = "\r\n".join((*lines, "", "{"))
    with socket.create_connection(("127.0.0.1", int(live.url.rsplit(":", 1)[1]))) as client:
        client.sendall(head.encode())
    assert asked(live.client())  # the server has gone on, and seen the end of that connection before
    assert not [record for record in caplog.records if record.exc_info]
