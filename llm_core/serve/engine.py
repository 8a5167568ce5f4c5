"""Continuous batching (Yu et al., 2022, Orca): requests join and leave the batch between two steps of the model."""

import logging
import threading
from collections import deque
from dataclasses import dataclass
from time import monotonic
from typing import Any

import torch

from llm_core.model.gather import Rows, gathered
from llm_core.model.state import DecodingState, new_state
from llm_core.serve.request import Request
from llm_core.serve.row import Row

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Limits:
    """What the engine accepts.

    ``rows``: answers that are written at once. ``waiting``: requests that wait for a row, or to be encoded before.
    ``seconds``: time of a request, from its arrival. ``chunk``: tokens of a prompt that are read between two steps, so
    that a long prompt does not stop the other answers.
    """

    rows: int = 8
    waiting: int = 64
    seconds: float = 300.0
    chunk: int = 256


class QueueFullError(Exception):
    """As many requests wait as are allowed."""


class Engine:
    """One thread that owns ``model`` (a ``Decoder``) and answers up to ``limits.rows`` requests at once.

    The tokens of an answer depend on its request only, up to the rounding of the products, whose kernels depend on the
    number of rows. An error in one row ends that request; an error of a step ends those that took part in it. The
    engine goes on in both cases.
    """

    def __init__(self, model: Any, limits: Limits = Limits()) -> None:
        self.model = model.eval()
        self.limits = limits
        self._device = next(model.parameters()).device
        self._changed = threading.Condition()
        self._waiting: deque[Row] = deque()
        self._closed = False
        self._reading: Row | None = None
        """The row whose prompt is being read."""
        self._rows: list[Row] = []
        """Rows of the batch, in the order of the state."""
        self._state: DecodingState | None = None
        self._thread = threading.Thread(target=self._run, name="decoding", daemon=True)
        self._thread.start()

    def submit(self, request: Request) -> None:
        """Answer ``request``, when a row is free. Raises ``QueueFullError``."""
        row = Row(request, request.arrived + self.limits.seconds, self.model.vocab_size)
        with self._changed:
            if self._closed or len(self._waiting) >= self.limits.waiting:
                raise QueueFullError
            self._waiting.append(row)
            self._changed.notify()

    def load(self) -> tuple[int, int]:
        """The numbers of requests that are answered, and that wait."""
        with self._changed:
            return len(self._rows) + (self._reading is not None), len(self._waiting)

    def close(self) -> None:
        """Cancel all requests, and end the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    @torch.inference_mode()
    def _run(self) -> None:
        while self._goes_on():
            self._drop_ended()
            self._read_prompt()
            self._step()
        for row in [*self._waiting, *([self._reading] if self._reading else []), *self._rows]:
            row.end("cancelled")

    def _goes_on(self) -> bool:
        """Wait for work. False after ``close``."""
        with self._changed:
            while not (self._closed or self._waiting or self._reading or self._rows):
                self._changed.wait()
            return not self._closed

    def _drop_ended(self) -> None:
        """End the requests that were cancelled or took too long, wherever they are."""
        now = monotonic()
        with self._changed:
            for row in [*self._waiting, *([self._reading] if self._reading else []), *self._rows]:
                if row.request.cancelled or now > row.deadline:
                    row.end("cancelled" if row.request.cancelled else "timeout")
            self._waiting = deque(row for row in self._waiting if not row.ended)
            if self._reading is not None and self._reading.ended:
                self._reading = None
        self._keep([row for row in self._rows if not row.ended])

    def _read_prompt(self) -> None:
        """Read the next chunk of a prompt. After its last one, the row joins the batch."""
        with self._changed:
            if self._reading is None and self._waiting and len(self._rows) < self.limits.rows:
                self._reading = self._waiting.popleft()
            row = self._reading
        if row is None:
            return
        try:
            if row.state is None:
                row.state = new_state(self.model, 1, len(row.request.prompt))
            start = row.state.length
            chunk = row.request.prompt[start : start + self.limits.chunk]
            logits_1V = self.model(torch.tensor([chunk], device=self._device), state=row.state, only=-1)[:, 0]
            if row.state.length < len(row.request.prompt):
                return
            row.take(logits_1V[0].float().cpu())
        except Exception:
            log.exception("a prompt of %d tokens", len(row.request.prompt))
            row.end("error")
        with self._changed:
            self._reading = None
        if not row.ended:
            self._keep(self._rows, row)

    def _keep(self, rows: list[Row], new: Row | None = None) -> None:
        """Make ``rows``, which are in the batch, and ``new`` the batch."""
        if new is None and len(rows) == len(self._rows):
            return
        together = [*rows, *([new] if new else [])]
        try:
            kept = [Rows(self._state, [self._rows.index(row) for row in rows])] if rows and self._state else []
            if new is not None and new.state is not None:
                kept.append(Rows(new.state, [0]))
                new.state = None
            most = max((row.left for row in together), default=0)
            self._state = gathered(kept, most, self._device) if together else None
        except Exception:
            log.exception("%d rows", len(together))
            self._fail(together)
            together = []
        with self._changed:
            self._rows = together

    def _step(self) -> None:
        """The next token of all rows in the batch."""
        if not self._rows:
            return
        try:
            tokens_B1 = torch.tensor([[row.token] for row in self._rows], device=self._device)
            logits_BV = self.model(tokens_B1, state=self._state, only=-1)[:, 0].float().cpu()
        except Exception:
            log.exception("a step of %d rows", len(self._rows))
            self._fail(self._rows)
            with self._changed:
                self._rows = []
            return
        for row, logits_V in zip(self._rows, logits_BV, strict=True):
            try:
                row.take(logits_V)
            except Exception:
                log.exception("a token")
                row.end("error")
        self._keep([row for row in self._rows if not row.ended])

    def _fail(self, rows: list[Row]) -> None:
        self._state = None
        for row in rows:
            row.end("error")
