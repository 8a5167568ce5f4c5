"""The state of one request in the engine."""

import torch
from torch import Tensor

from llm_core.model.generate import StopTokens, draw, penalised
from llm_core.model.state import DecodingState
from llm_core.serve.request import End, Piece, Reason, Request


class Row:
    """What the engine keeps of a request: its decoding state before it joins the batch, its generator, its text."""

    def __init__(self, request: Request, deadline: float, vocab_size: int) -> None:
        self.request = request
        self.deadline = deadline
        self.state: DecodingState | None = None
        self.token = -1
        """The last token, which the model has not read yet."""
        self.made = 0
        self.ended = False
        self._generator = torch.Generator().manual_seed(request.seed)
        self._stop = StopTokens(request.sampling.stop)
        self._seen_V: Tensor | None = None
        if request.sampling.repetition_penalty != 1:
            self._seen_V = torch.zeros(vocab_size, dtype=torch.bool)
            self._seen_V[request.prompt] = True

    @property
    def left(self) -> int:
        """How many tokens it may still need room for."""
        return self.request.sampling.max_new_tokens - self.made

    def take(self, logits_V: Tensor) -> None:
        """Choose the next token, and tell the request. ``logits_V``: fp32 on the CPU."""
        sampling = self.request.sampling
        if self._seen_V is not None:
            logits_V = penalised(logits_V, self._seen_V, sampling.repetition_penalty)
        assert isinstance(sampling.temperature, int | float), "one row"
        if sampling.temperature == 0:
            self.token = int(logits_V.argmax())
        else:
            self.token = draw(logits_V, sampling.temperature, sampling, self._generator)
        if self._seen_V is not None:
            self._seen_V[self.token] = True
        self.made += 1
        last = self.left == 0
        text = self.request.text.take(self._stop.take(self.token, last=last))
        stopped = self._stop.reached or self.request.text.reached
        if text and not (stopped or last):
            self._tell(Piece(text, self.made))
        if stopped or last:
            self.end("stop" if stopped else "length", text)

    def end(self, reason: Reason, text: str = "") -> None:
        """Tell the request that nothing follows. ``text``: what comes before the end."""
        if self.ended:
            return
        self.ended = True
        if reason in ("stop", "length"):
            text += self.request.text.rest()
            if self.request.text.reached:
                reason = "stop"
        if text:
            self._tell(Piece(text, self.made))
        self._tell(End(reason, self.made))

    def _tell(self, event: Piece | End) -> None:
        try:
            self.request.sink(event)
        except Exception:  # whoever listened is gone
            self.request.cancel()
