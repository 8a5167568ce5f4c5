"""Trained models that are talked to: ``pedigree sample``, ``chat`` and ``serve``."""

import secrets
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from llm_core.errors import PedigreeError
from llm_core.extras import is_installed, missing
from pipelines.documents import INDEX, open_documents
from pipelines.exchange import TOKENIZER, check_model, found, sequence_length
from pipelines.session import Session

if TYPE_CHECKING:
    from llm_core.serve.documents import Cited
    from llm_core.serve.served import Served

SERVER_BACKLOG = 128
CONNECTIONS = 512
"""Open connections; others are refused."""
HEADER_BYTES = 16 * 1024


@dataclass(frozen=True)
class Choice:
    """How tokens are chosen (``llm_core.model.generate.Sampling`` explains the fields), and when a text ends."""

    max_tokens: int | None = None
    temperature: float = 0.8
    top_k: int | None = None
    top_p: float | None = None
    repetition_penalty: float = 1.0
    seed: int | None = None
    stop: Sequence[str] = field(default_factory=tuple)
    retrieve: int | None = None
    """How many passages the model reads, at most."""


def open_served(
    session: Session,
    stage: str | None,
    tell: Callable[[str], None],
    index: str | None = None,
    retrieve: bool | None = None,
) -> "Served":
    """The model of the stage ``stage``, loaded on the fastest device of this machine.

    Without a ``stage``, it is the model that people use (``Experiment.final_model``).

    ``retrieve``: whether documents are needed, with the ``index`` that ``open_documents`` finds; None: if there are
    any. ``tell`` is told what is noteworthy about them.
    """
    import torch

    from llm_core.serve.served import load_served

    if index is not None and retrieve is False:
        raise PedigreeError("--index: say with --retrieve how many passages the model reads")
    stage = stage or session.experiment.final_model()
    check_model(session, stage)
    own_index = retrieve is not False and session.experiment.retrieval is not None
    items = {item.stage: item for item in session.planner().plan({stage, TOKENIZER, *([INDEX] if own_index else [])})}
    model, tokenizer = (found(items[name], session.experiment.name) for name in (stage, TOKENIZER))
    documents = None if retrieve is False else open_documents(session, items, model, index, bool(retrieve), tell)
    return load_served(
        model.path,
        tokenizer.path / "tokenizer.json",
        name=f"{session.experiment.name}/{stage}",
        identity=model.manifest.identity,
        trained_length=sequence_length(session, stage, model),
        documents=documents,
        device="cuda" if torch.cuda.is_available() else "cpu",
    )


def texts(served: "Served", prompt: list[int], choice: Choice) -> Iterator[str]:
    """The text after ``prompt``, piece by piece. Raises ``PedigreeError`` for what can't be."""
    import torch

    from llm_core.model.generate import Sampling, stream

    if "" in choice.stop:
        raise PedigreeError("--stop is empty, and would end every text at once: leave it out")
    room = served.room(prompt, choice.max_tokens)
    ends = [(token,) for token in served.chat.stop()]
    try:
        sampling = Sampling(room, choice.temperature, choice.top_k, choice.top_p, choice.repetition_penalty, stop=ends)
    except ValueError as error:
        raise PedigreeError(f"--{str(error).replace('_', '-', 1)}") from None
    seed = secrets.randbits(63) if choice.seed is None else choice.seed
    text = served.text(choice.stop)
    for _, token in stream(served.model, [prompt], sampling, generators=[torch.Generator().manual_seed(seed)]):
        yield text.take([token])
        if text.reached:
            return
    yield text.rest()


def check_texts(choice: Choice, **named: str | None) -> None:
    """What was typed must be text. ``named``: by its name in the error. Raises ``PedigreeError``."""
    from llm_core.serve.text import check_text

    for name, text in [*named.items(), *(("--stop", stop) for stop in choice.stop)]:
        check_text(text or "", name)


def cited(prompt: "Cited") -> Iterator[str]:
    """The passages of a prompt, a line each."""
    for number, passage in enumerate(prompt.read or (), start=1):
        yield f"[{number}] {passage.name} {passage.url or passage.place or ''}".rstrip()
    if prompt.read is not None and not prompt.read:
        yield "(no passage fits)" if prompt.left_out else "(no passage shares a word with this)"
    elif prompt.left_out:
        yield f"({prompt.left_out} more do not fit)"


def chat(
    served: "Served", choice: Choice, system: str | None, read: Callable[[str], str], write: Callable[[str], None]
) -> None:
    """Talk in the terminal. ``read(prompt)`` returns a line, and raises ``EOFError`` at the end of the input."""
    write(f"{served.name} {served.identity[:12]}, {served.context} tokens of context. /new begins again, /quit ends.\n")
    if not served.chat.tuned:
        write("This is a base model: it was trained to continue text, and not to answer.\n")
    beginning = [{"role": "system", "content": system}] if system else []
    messages = list(beginning)
    while True:
        try:
            said = read("\n> ").strip()
        except (EOFError, KeyboardInterrupt):
            write("\n")
            return
        if said == "/quit":
            return
        if said == "/new":
            messages = list(beginning)
        elif said:
            messages.append({"role": "user", "content": said})
            answer = _answered(served, messages, choice, write)
            if answer.strip():
                messages.append({"role": "assistant", "content": answer})
            else:
                messages.pop()  # turns must alternate


def _answered(
    served: "Served", messages: Sequence[dict[str, str]], choice: Choice, write: Callable[[str], None]
) -> str:
    """The answer, also if Ctrl-C stops it."""
    answer = ""
    try:
        prompt = served.cited_chat(messages, choice.retrieve, choice.max_tokens)
        for piece in texts(served, prompt.ids, choice):
            answer += piece
            write(piece)
        write("".join(f"\n{line}" for line in cited(prompt)))
    except KeyboardInterrupt:
        write(" (stopped)")
    except PedigreeError as error:
        write(f"error: {error} (/new begins a new conversation)")
        return ""
    write("\n")
    return answer


def serve(
    session: Session,
    stage: str | None,
    *,
    host: str,
    port: int,
    rows: int,
    allowed: Sequence[str],
    index: str | None,
    tell: Callable[[str], None],
) -> None:
    """Serve until the process is told to end."""
    for package in ("fastapi", "uvicorn"):
        if not is_installed(package):
            raise missing("pedigree serve", package, "serve")
    for name in allowed:
        if "/" in name or name.count(":") == 1:
            raise PedigreeError(f"--allow-host {name}: give the name alone, without http:// and without a port")
    import uvicorn

    from llm_core.serve.app import make_app
    from llm_core.serve.connections import BoundedConnection
    from llm_core.serve.engine import Engine, Limits
    from llm_core.serve.guard import LOOPBACK

    listening = listen(host, port)  # before the model is loaded, which may take long
    try:
        served = open_served(session, stage, tell, index)
        inside = host.lower() in LOOPBACK
        engine = Engine(served.model, Limits(rows=rows))
        app = make_app(served, engine, {*LOOPBACK, host, *allowed}, addresses=not inside)
        address = listening.getsockname()
        place = f"[{address[0]}]" if ":" in address[0] else address[0]
        tell(f"{served.name} (artifact {served.identity}): http://{place}:{address[1]}/ and its OpenAI API under /v1")
        if not inside:
            tell("note: everyone who reaches this address can use the model; there are no keys and no encryption")
        config = uvicorn.Config(
            app,
            log_level="warning",
            server_header=False,
            limit_concurrency=CONNECTIONS,
            timeout_graceful_shutdown=3,
            h11_max_incomplete_event_size=HEADER_BYTES,
            http=BoundedConnection,
            ws="none",
        )
        uvicorn.Server(config).run(sockets=[listening])
    finally:
        listening.close()


def listen(host: str, port: int) -> socket.socket:
    """A socket at this address. Raises ``PedigreeError`` if it can't be had."""
    try:
        place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(place[0], socket.SOCK_STREAM)
    except OSError as error:
        raise PedigreeError(f"--host {host}: {error.strerror or error}") from None
    try:
        if sys.platform != "win32":
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(place[4])
        listening.listen(SERVER_BACKLOG)
    except OSError as error:
        listening.close()
        raise PedigreeError(
            f"port {port} of {host} can't be used ({error.strerror}): end the program that uses it, or give another "
            "with --port"
        ) from None
    return listening
