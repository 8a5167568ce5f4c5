"""Requests that a server must survive: broken, huge, slow and cancelled ones, while other clients are answered.

    pedigree serve EXPERIMENT &
    python -m benchmarks.hostile_requests http://127.0.0.1:8000 [--requests 1000] [--seed 0]

Each request is a valid one with something wrong, drawn at random. Meanwhile one client asks the same question again and
again with the client of ``openai``, and must get the same answer. Prints a Markdown table, and ends with status 1 if a
request hangs, an answer is no error in the form of the API, a traceback reaches a client, or an answer changes.
"""

import argparse
import json
import random
import socket
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

import httpx
import openai

LONGEST = 30.0
"""Seconds after which a request counts as hung."""
AT_ONCE = 8
JSON = {"Content-Type": "application/json"}
PATHS = ("/v1/chat/completions", "/v1/completions")
VALUES: tuple[Any, ...] = (
    *(
        None,
        True,
        [],
        {},
        "",
        "\0",
        "\ud800",
        -1,
        0,
        1.5,
        10**30,
        -(10**30),
        1e300,
        "NaN",
        [[]],
        [{}],
        {"a": {"b": []}},
    ),
    *("x" * 50_000, ["x"] * 1000, "<|endoftext|>", "<|im_end|>", "../../etc/passwd", "{{ 7 * 7 }}", "<script>"),
)
Made = Callable[[random.Random, httpx.Client, str], httpx.Response | None]


def valid(rng: random.Random, model: str) -> tuple[str, dict[str, Any]]:
    """A path and a request that the server answers."""
    fields = {
        "model": model,
        "max_tokens": rng.randint(1, 8),
        "temperature": rng.choice([0, 1]),
        "seed": rng.randint(0, 9),
    }
    if rng.random() < 0.5:
        return PATHS[1], {**fields, "prompt": "What is a number"}
    return PATHS[0], {**fields, "messages": [{"role": "user", "content": "What is a number?"}]}


def wrong_value(rng: random.Random, client: httpx.Client, model: str) -> httpx.Response:
    """A field has a value of another type or size, at the top or within the messages."""
    path, body = valid(rng, model)
    place: Any = body
    if "messages" in body and rng.random() < 0.5:
        place = body["messages"][0]
    known = ("top_p", "top_k", "stop", "stream", "n", "retrieve", "logprobs", "response_format", "tools")
    place[rng.choice([*place, *known])] = rng.choice(VALUES)
    return client.post(path, content=json.dumps(body).encode(), headers=JSON)


def broken_bytes(rng: random.Random, client: httpx.Client, model: str) -> httpx.Response:
    """JSON that is cut, has bytes changed, or is none at all."""
    path, body = valid(rng, model)
    data = bytearray(json.dumps(body).encode())
    kind = rng.randrange(3)
    if kind == 0:
        del data[rng.randrange(len(data)) :]
    elif kind == 1:
        for _ in range(rng.randint(1, 5)):
            data[rng.randrange(len(data))] = rng.randrange(256)
    else:
        data = bytearray(rng.choice([b"[" * 100_000, b'{"a":' * 10_000, rng.randbytes(1000), b"\xef\xbb\xbf{}"]))
    return client.post(path, content=bytes(data), headers=JSON)


def too_large(rng: random.Random, client: httpx.Client, model: str) -> httpx.Response:
    """Megabytes, at once or in chunks of unknown number; or a prompt that is longer than the context."""
    path, body = valid(rng, model)
    kind = rng.randrange(3)
    if kind == 0:
        return client.post(path, content=b" " * rng.randint(10**6, 10**7), headers=JSON)
    if kind == 1:
        return client.post(path, content=(b" " * 4096 for _ in range(2000)), headers=JSON)
    if "prompt" in body:
        body["prompt"] = "a number and " * 8000
    else:
        body["messages"][0]["content"] = "a number and " * 8000
    return client.post(path, content=json.dumps(body).encode(), headers=JSON)


def wrong_place(rng: random.Random, client: httpx.Client, model: str) -> httpx.Response:
    """Another path, method, content type, host or origin."""
    path, body = valid(rng, model)
    content = json.dumps(body).encode()
    kind = rng.randrange(4)
    if kind == 0:
        places = ("/v1", "/v1/models/../../etc/passwd", "/docs", "/page.py", "/%2e%2e/x", "/v1/embeddings")
        return client.request(rng.choice(["GET", "POST"]), rng.choice(places), content=content, headers=JSON)
    if kind == 1:
        return client.request(rng.choice(["GET", "PUT", "DELETE", "PATCH"]), path, content=content, headers=JSON)
    if kind == 2:
        return client.post(path, content=content, headers={"Content-Type": rng.choice(["text/plain", "x", ""])})
    name = rng.choice(["Host", "Origin"])
    return client.post(
        path, content=content, headers={**JSON, name: rng.choice(["evil.example", "null", "https://a.b"])}
    )


def left(rng: random.Random, client: httpx.Client, model: str) -> None:
    """A stream whose client leaves after the first lines."""
    path, body = valid(rng, model)
    body |= {"stream": True, "max_tokens": 60}
    with client.stream("POST", path, json=body) as response:
        for number, _ in enumerate(response.iter_lines()):
            if number == rng.randrange(1, 4):
                break


def never_sent(rng: random.Random, client: httpx.Client, model: str) -> None:
    """A connection that promises a body, sends a part of it, and closes."""
    del model
    address = (client.base_url.host, client.base_url.port or 80)
    fields = [
        f"POST {PATHS[0]} HTTP/1.1",
        f"Host: {address[0]}",
        "Content-Type: application/json",
        "Content-Length: 500",
    ]
    head = "\r\n".join([*fields, "", ""])
    with socket.create_connection(address, timeout=LONGEST) as connection:
        connection.sendall(head.encode() + b'{"model": ' + b" " * rng.randrange(100))
        time.sleep(rng.random() / 10)


KINDS: tuple[Made, ...] = (
    wrong_value,
    wrong_value,
    wrong_value,
    broken_bytes,
    broken_bytes,
    too_large,
    wrong_place,
    left,
    never_sent,
)


def fault(response: httpx.Response | None, seconds: float) -> str:
    """What is wrong with the answer to a hostile request; empty if nothing is."""
    if seconds > LONGEST:
        return f"took {seconds:.0f} s"
    if response is None or response.status_code == 200:  # some changes leave a request valid
        return ""
    if "Traceback" in response.text or ".py" in response.text:
        return f"shows code: {response.text[:200]}"
    if not 400 <= response.status_code < 500:
        return f"status {response.status_code}: {response.text[:200]}"
    try:
        response.json()["error"]["message"]
    except (ValueError, KeyError, TypeError):
        return f"no error of the API: {response.text[:200]}"
    return ""


def asked(url: str, model: str, seed: int) -> str:
    """The answer to a good request."""
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=LONGEST)
    question: Any = [{"role": "user", "content": "What is a number?"}]
    chunks = client.chat.completions.create(model=model, messages=question, max_tokens=16, seed=seed, stream=True)
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


def good_client(url: str, model: str, stop: Event) -> Iterator[tuple[str, float]]:
    """Each answer, and how long it took."""
    while not stop.is_set():
        began = time.monotonic()
        yield asked(url, model, 1), time.monotonic() - began


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    url = options.url.rstrip("/")
    try:
        model = openai.OpenAI(base_url=f"{url}/v1", api_key="none").models.list().data[0].id
    except openai.APIConnectionError:
        parser.error(f"no server answers at {url}: start one with pedigree serve")
    alone = [asked(url, model, seed) for seed in range(AT_ONCE)]
    stop, faults = Event(), []
    rows: dict[str, list[tuple[str, float]]] = defaultdict(list)

    def one(number: int) -> None:
        rng = random.Random(options.seed * options.requests + number)
        made = rng.choice(KINDS)
        began, response = time.monotonic(), None
        with httpx.Client(base_url=url, timeout=LONGEST) as client:
            try:
                response = made(rng, client, model)
                status = "closed" if response is None else str(response.status_code)
            except httpx.TimeoutException:
                status = "hung"
                faults.append(f"request {number}, {made.__name__}: no answer in {LONGEST:g} s")
            except httpx.TransportError as error:  # the server may close while megabytes are sent
                status = type(error).__name__
        seconds = time.monotonic() - began
        rows[made.__name__].append((status, seconds))
        if told := fault(response, seconds):
            faults.append(f"request {number}, {made.__name__}: {told}")

    with ThreadPoolExecutor(AT_ONCE + 1) as pool:
        good = pool.submit(lambda: list(good_client(url, model, stop)))
        list(pool.map(one, range(options.requests)))
        stop.set()
        answers = good.result()
    changed = sum(answer != alone[1] for answer, _ in answers)
    if changed:
        faults.append(f"{changed} of {len(answers)} good answers changed")
    with ThreadPoolExecutor(AT_ONCE) as pool:
        together = list(pool.map(lambda seed: asked(url, model, seed), range(AT_ONCE)))
    if together != alone:
        faults.append("eight at once are not answered as each alone")
    print("| requests | number | answers | slowest |\n|---|---|---|---|")
    for name, found in sorted(rows.items()):
        counts = {
            status: sum(status == other for other, _ in found) for status in sorted({status for status, _ in found})
        }
        told = ", ".join(f"{status}: {count}" for status, count in counts.items())
        print(f"| {name} | {len(found)} | {told} | {max(seconds for _, seconds in found):.1f} s |")
    print(
        f"| good ones meanwhile | {len(answers)} | {changed} changed | {max(seconds for _, seconds in answers):.1f} s |"
    )
    print("\n".join(["", *(faults or ["Nothing hung, no traceback reached a client, and no good answer changed."])]))
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
