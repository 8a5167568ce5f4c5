"""A request to the engine, and what it answers."""

from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic
from typing import Literal

from llm_core.model.generate import Sampling
from llm_core.serve.text import TextStream

Reason = Literal["stop", "length", "cancelled", "timeout", "error"]


@dataclass(frozen=True)
class Piece:
    """New text of an answer. ``tokens``: how many the model has written so far."""

    text: str
    tokens: int


@dataclass(frozen=True)
class End:
    """The end of an answer.

    ``reason``: ``stop`` (a stop string or token), ``length`` (all new tokens), ``cancelled``, ``timeout``, or ``error``
    (the server's log says which).
    """

    reason: Reason
    tokens: int


Sink = Callable[[Piece | End], None]


@dataclass(eq=False)
class Request:
    """One prompt with its sampling.

    ``prompt``: at least one token. ``seed``: of the row's own random generator, so that the answer does not depend on
    other requests. ``sink`` is called by the engine's thread, with pieces and then one ``End``; it must not block. If
    it raises, the request is cancelled. ``arrived``: when its time began.
    """

    prompt: list[int]
    sampling: Sampling
    seed: int
    text: TextStream
    sink: Sink
    arrived: float = field(default_factory=monotonic)
    cancelled: bool = field(default=False, init=False)

    def cancel(self) -> None:
        """Free the request's row at the next step. Any thread may call this, also after the end."""
        self.cancelled = True
