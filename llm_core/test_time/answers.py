"""Many answers of a model to one question, with their likelihoods."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from tokenizers import Tokenizer

from llm_core.evals.samples import generation_seed
from llm_core.model.decoder import Decoder
from llm_core.model.gather import Rows, gathered
from llm_core.model.generate import Sampling, draw
from llm_core.model.state import new_state


@dataclass
class Answer:
    """``ids``: the tokens that the model has generated, with the end of the text if it wrote one. ``nats``: the
    log-probability of each, before any temperature. ``text``: without the end of the text."""

    text: str = ""
    ids: list[int] = field(default_factory=list)
    nats: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Answerer:
    """Answers by ``model``: one greedy answer, and ``samples`` at ``temperature``.

    ``seed`` and the name of a question decide its samples. More samples leave the first ones as they are, up to the
    rounding of products, which depends on the number of rows.
    """

    model: Decoder
    tokenizer: Tokenizer
    eot: int
    samples: int
    temperature: float
    top_p: float | None
    seed: int

    @torch.inference_mode()
    def answers(
        self, name: str, prompt: Sequence[int], max_new_tokens: int, ended: Callable[[str], bool]
    ) -> list[Answer]:
        """The greedy answer first. An answer ends where ``ended`` is true for its text.

        The prompt is read once: all answers start from copies of its state, and leave the batch when they end.
        """
        chances = [
            torch.Generator().manual_seed(generation_seed(self.seed, f"{name} {number}", self.temperature))
            for number in range(self.samples + 1)
        ]
        found = [Answer() for _ in chances]
        state = new_state(self.model, 1, len(prompt))
        logits_BV = self.model(torch.tensor([prompt]), state=state, only=-1)[:, 0].expand(len(found), -1)
        state, going = gathered([Rows(state, [0] * len(found))], max_new_tokens), list(range(len(found)))
        for step in range(1, max_new_tokens + 1):
            nats_BV = logits_BV.float().log_softmax(-1)
            for row, number in enumerate(going):
                answer = found[number]
                answer.ids.append(self._token(logits_BV[row].float(), number, chances[number]))
                answer.nats.append(float(nats_BV[row, answer.ids[-1]]))
                written = answer.ids[:-1] if answer.ids[-1] == self.eot else answer.ids
                answer.text = self.tokenizer.decode(written, skip_special_tokens=False)
            left = [row for row, number in enumerate(going) if not self._is_whole(found[number], ended)]
            if not left or step == max_new_tokens:
                break
            if len(left) < len(going):
                state, going = gathered([Rows(state, left)], max_new_tokens - step), [going[row] for row in left]
            logits_BV = self.model(torch.tensor([found[number].ids[-1:] for number in going]), state=state)[:, -1]
        return found

    def _token(self, logits_V: torch.Tensor, number: int, chance: torch.Generator) -> int:
        if number == 0:
            return int(logits_V.argmax())
        return draw(logits_V, self.temperature, Sampling(1, top_p=self.top_p), chance)

    def _is_whole(self, answer: Answer, ended: Callable[[str], bool]) -> bool:
        return answer.ids[-1] == self.eot or ended(answer.text)
