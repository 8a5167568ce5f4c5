"""The engine: what an answer depends on, and what it does not."""

import threading
import time
from collections.abc import Callable

import pytest
import torch

from llm_core.model.generate import Sampling, generate
from llm_core.serve.engine import Engine, Limits, QueueFullError
from llm_core.serve.request import End, Piece, Request
from llm_core.serve.text import TextStream
from tests.model.shapes import MODELS, VOCAB, model, named, spec


def characters(ids: list[int]) -> str:
    """Every token is one character."""
    return "".join(chr(0x4E00 + token) for token in ids)


class Asked:
    """A request to the engine, and its answer."""

    def __init__(self, prompt: list[int], sampling: Sampling, seed: int = 0, stop: tuple[str, ...] = ()) -> None:
        self.events: list[Piece | End] = []
        self.done = threading.Event()
        self.request = Request(prompt, sampling, seed, TextStream(characters, stop), self.take)

    def take(self, event: Piece | End) -> None:
        self.events.append(event)
        if isinstance(event, End):
            self.done.set()

    def answer(self) -> tuple[str, str]:
        assert self.done.wait(30)
        *pieces, end = self.events
        return "".join(piece.text for piece in pieces), end.reason


@pytest.fixture
def engine_of():
    engines = []

    def make(built, **limits) -> Engine:
        engines.append(Engine(built, Limits(**limits)))
        return engines[-1]

    yield make
    for engine in engines:
        engine.close()


def alone(built, asked: Asked) -> str:
    request = asked.request
    generator = torch.Generator().manual_seed(request.seed)
    return characters(generate(built, [request.prompt], request.sampling, generators=[generator])[0])


def crowd(count: int) -> list[Asked]:
    """Requests of all kinds."""
    chance = torch.Generator().manual_seed(5)
    requests = []
    for number in range(count):
        length = int(torch.randint(1, 20, (), generator=chance))
        prompt = torch.randint(0, VOCAB, (length,), generator=chance).tolist()
        sampling = Sampling(
            3 + number % 11,
            (0.0, 0.7, 1.3)[number % 3],
            top_k=(None, 9)[number % 2],
            top_p=(None, 0.9)[number % 4 == 1],
            repetition_penalty=(1.0, 1.5)[number % 5 == 4],
            stop=((7,), (3, 4)),
        )
        requests.append(Asked(prompt, sampling, seed=number))
    return requests


@pytest.mark.parametrize("name", ["mixattention", "hybrid", "ngram_embedding"])
def test_an_answer_does_not_depend_on_the_others(name, engine_of) -> None:
    """More requests than rows, so that they join and leave at all times; prompts are read in pieces."""
    assert name in MODELS
    built = model(named(name))
    engine, requests = engine_of(built, rows=5, waiting=100, chunk=6), crowd(12)
    for asked in requests:
        engine.submit(asked.request)
    together = [asked.answer()[0] for asked in requests]
    assert together == [alone(built, asked) for asked in requests]
    assert len(set(together)) > 9
    assert engine.load() == (0, 0)


class Slow:
    """Holds the model up until it is told, so that tests see requests in the middle."""

    def __init__(self, built) -> None:
        self.rows: list[int] = []
        self.free = threading.Event()
        self.steps = threading.Semaphore(0)
        built.register_forward_pre_hook(self._wait, with_kwargs=True)

    def _wait(self, _module, inputs, _options) -> None:
        if not self.free.is_set():
            assert self.steps.acquire(timeout=30)
        self.rows.append(len(inputs[0]))

    def let(self, steps: int) -> None:
        self.steps.release(steps)

    def release(self) -> None:
        self.free.set()
        self.steps.release(1000)


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_eight_requests_are_one_batch_and_a_cancelled_one_frees_its_row(engine_of) -> None:
    built = model(spec())
    slow, engine = Slow(built), engine_of(built, rows=8)
    requests = [Asked([number + 1], Sampling(40)) for number in range(10)]
    for asked in requests:
        engine.submit(asked.request)
    slow.let(16)  # one prompt and one step each time
    wait_for(lambda: slow.rows[-1:] == [8])
    assert engine.load() == (8, 2)
    requests[3].request.cancel()
    requests[9].request.cancel()  # it waits
    slow.release()
    assert requests[3].answer()[1] == requests[9].answer()[1] == "cancelled"
    others = [asked for number, asked in enumerate(requests) if number not in (3, 9)]
    assert [asked.answer() for asked in others] == [(alone(built, asked), "length") for asked in others]


def test_only_so_many_wait(engine_of) -> None:
    built = model(spec())
    slow, engine = Slow(built), engine_of(built, rows=1, waiting=2)
    first = Asked([1], Sampling(2))
    engine.submit(first.request)
    wait_for(lambda: engine.load() == (1, 0))
    second, third, fourth = (Asked([1], Sampling(2)) for _ in range(3))
    engine.submit(second.request)
    engine.submit(third.request)
    with pytest.raises(QueueFullError):
        engine.submit(fourth.request)
    slow.release()
    assert {asked.answer()[1] for asked in (first, second, third)} == {"length"}


def test_a_request_has_only_so_much_time(engine_of) -> None:
    built = model(spec())
    slow, engine = Slow(built), engine_of(built, rows=1, seconds=0.05)
    requests = [Asked([1], Sampling(50)) for _ in range(2)]
    for asked in requests:
        engine.submit(asked.request)
    time.sleep(0.06)
    slow.release()
    assert [asked.answer()[1] for asked in requests] == ["timeout", "timeout"]


def test_an_error_harms_no_other_request(engine_of, caplog) -> None:
    built = model(spec())
    engine = engine_of(built, rows=4)

    def gone(_event) -> None:
        raise ConnectionError("nobody listens")

    good = [Asked([2, number], Sampling(12, 0.9), seed=number) for number in range(3)]
    wrong_prompt = Asked([VOCAB + 10**6], Sampling(5))
    wrong_sink = Asked([3], Sampling(5))
    wrong_sink.request.sink = gone
    wrong_sampling = Asked([4], Sampling(5, 0.9))
    wrong_sampling.request.sampling.__dict__["top_k"] = "many"
    for asked in (good[0], wrong_prompt, good[1], wrong_sink, wrong_sampling, good[2]):
        engine.submit(asked.request)
    assert [asked.answer() for asked in good] == [(alone(built, asked), "length") for asked in good]
    assert wrong_prompt.answer()[1] == wrong_sampling.answer()[1] == "error"
    wait_for(lambda: engine.load() == (0, 0))


def test_an_error_of_a_step_ends_its_requests_only(engine_of) -> None:
    built = model(spec())
    engine, fails = engine_of(built, rows=4), threading.Event()

    def hook(_module, inputs) -> None:
        if fails.is_set() and inputs[0].shape[1] == 1:
            fails.clear()
            raise RuntimeError("out of memory")

    fails.set()
    built.register_forward_pre_hook(hook)
    broken = Asked([1, 2], Sampling(5))
    engine.submit(broken.request)
    assert broken.answer()[1] == "error"
    after = Asked([1, 2], Sampling(5))
    engine.submit(after.request)
    assert after.answer() == (alone(built, after), "length")


def test_what_runs_is_cancelled_when_the_engine_closes(engine_of) -> None:
    built = model(spec())
    slow = Slow(built)
    engine = Engine(built, Limits(rows=1))
    requests = [Asked([1], Sampling(50)) for _ in range(3)]
    for asked in requests:
        engine.submit(asked.request)
    slow.let(3)
    wait_for(lambda: len(slow.rows) == 3)
    closing = threading.Thread(target=engine.close)
    closing.start()
    slow.let(1)
    closing.join(30)
    assert [asked.answer()[1] for asked in requests] == ["cancelled"] * 3
    with pytest.raises(QueueFullError):
        engine.submit(Asked([1], Sampling(1)).request)


def test_a_stop_text_ends_an_answer(engine_of) -> None:
    built = model(spec())
    engine, free = engine_of(built), Asked([5, 6], Sampling(30))
    engine.submit(free.request)
    text, _ = free.answer()
    stopped = Asked([5, 6], Sampling(30), stop=(text[10:12], "never"))
    engine.submit(stopped.request)
    assert stopped.answer() == (text[: text.index(text[10:12])], "stop")
    assert stopped.events[-1].tokens == text.index(text[10:12]) + 2
