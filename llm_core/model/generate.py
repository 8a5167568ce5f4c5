"""Generation: one token at a time, for many prompts at once."""

from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from llm_core.experiment.evaluation import LEAST_PENALTY, MOST_PENALTY
from llm_core.model.state import new_state

Prompts = Sequence[Sequence[int]] | Tensor


@dataclass(frozen=True)
class Sampling:
    """How tokens are chosen, and when a row ends. Raises ``ValueError`` for invalid values.

    ``temperature``: divides the logits, one value for all rows or one per row; 0 always takes the most likely token,
    and so does what fp32 rounds to 0 (below 1e-45). ``top_k``: only the k most likely tokens. ``top_p``: only the
    fewest most likely tokens whose probabilities, after temperature and ``top_k``, sum to p or more (nucleus sampling:
    Holtzman et al., 2020). ``repetition_penalty``: for tokens that are in the row already, including the prompt,
    positive logits are divided by it and negative ones multiplied (Keskar et al., 2019);
    0.1 to 10, and 1 is no penalty. ``stop``: sequences of tokens that end a row and are not part of it.
    """

    max_new_tokens: int
    temperature: float | Sequence[float] = 0.0
    top_k: int | None = None
    top_p: float | None = None
    repetition_penalty: float = 1.0
    stop: Sequence[Sequence[int]] = ()

    def __post_init__(self) -> None:
        temperatures = [self.temperature] if isinstance(self.temperature, int | float) else self.temperature
        wrong = {
            "max_new_tokens": self.max_new_tokens < 1,
            "temperature": any(not 0 <= temperature < float("inf") for temperature in temperatures),
            "top_k": self.top_k is not None and self.top_k < 1,
            "top_p": self.top_p is not None and not 0 < self.top_p <= 1,
            "repetition_penalty": not LEAST_PENALTY <= self.repetition_penalty <= MOST_PENALTY,
            "stop": any(len(sequence) == 0 for sequence in self.stop),
        }
        for name, is_wrong in wrong.items():
            if is_wrong:
                advice = f": give {LEAST_PENALTY:g} to {MOST_PENALTY:g}" if name == "repetition_penalty" else ""
                raise ValueError(f"{name}: {getattr(self, name)!r} is not valid{advice}")


def generate(
    model: nn.Module,
    prompts: Prompts,
    sampling: Sampling,
    *,
    generators: Sequence[torch.Generator] = (),
    ended: Callable[[list[int]], bool] = lambda _tokens: False,
    advance: Callable[[], None] = lambda: None,
) -> list[list[int]]:
    """The new tokens of every row. See ``stream``.

    A row also ends when ``ended`` is true for its new tokens. ``advance`` is called after each step.
    """
    lines, temperatures = _checked(model, prompts, sampling, generators)
    rows: list[list[int]] = [[] for _ in lines]
    finished: set[int] = set()
    for step in _steps(model, lines, temperatures, sampling, generators, finished):
        for row, tokens in step:
            rows[row] += tokens
        finished.update(row for row, tokens in step if tokens and ended(rows[row]))
        advance()
    return rows


def stream(
    model: nn.Module, prompts: Prompts, sampling: Sampling, *, generators: Sequence[torch.Generator] = ()
) -> Iterator[tuple[int, int]]:
    """(row, token) for each new token of B prompts, which may have different lengths from 1 on.

    ``generators``: one per row, on the CPU, unless all temperatures are 0. The tokens of a row depend on its own
    generator and temperature only, so other rows change nothing, up to rounding. A token that may begin a stop sequence
    is delayed until it is clear that it does not.
    """
    lines, temperatures = _checked(model, prompts, sampling, generators)
    steps = _steps(model, lines, temperatures, sampling, generators, finished=frozenset())
    return ((row, token) for step in steps for row, tokens in step for token in tokens)


@torch.inference_mode()
def _steps(
    model: Any,
    lines: list[list[int]],
    temperatures: Sequence[float],
    sampling: Sampling,
    generators: Sequence[torch.Generator],
    finished: Set[int],
) -> Iterator[list[tuple[int, list[int]]]]:
    """For every step the unfinished rows with their new tokens. The caller may add rows to ``finished`` in between."""
    inputs_BT, documents_BT = _padded(lines, next(model.parameters()).device)
    if sampling.repetition_penalty != 1:
        seen_BV = torch.zeros(len(lines), model.vocab_size, dtype=torch.bool, device=inputs_BT.device)
        for row, line in enumerate(lines):
            seen_BV[row, line] = True
    state = new_state(model, len(lines), inputs_BT.shape[1] + sampling.max_new_tokens, documents_BT)
    ends = [StopTokens(sampling.stop) for _ in lines]
    unfinished = list(range(len(lines)))
    was_training = model.training
    model.eval()
    try:
        for number in range(1, sampling.max_new_tokens + 1):
            logits_BV = model(inputs_BT, state=state, only=-1)[:, 0]
            if sampling.repetition_penalty != 1:
                logits_BV = penalised(logits_BV, seen_BV, sampling.repetition_penalty)
            chosen_B = logits_BV.argmax(dim=-1).cpu()  # finished rows continue, and their tokens are ignored
            drawing = [row for row in unfinished if temperatures[row] > 0]
            if drawing:
                logits_BV = logits_BV.float().cpu()
            for row in drawing:
                chosen_B[row] = draw(logits_BV[row], temperatures[row], sampling, generators[row])
            tokens = chosen_B.tolist()
            yield [(row, ends[row].take(tokens[row], last=number == sampling.max_new_tokens)) for row in unfinished]
            unfinished = [row for row in unfinished if not ends[row].reached and row not in finished]
            if not unfinished:
                return
            inputs_BT = chosen_B[:, None].to(inputs_BT.device)
            if sampling.repetition_penalty != 1:
                seen_BV.scatter_(1, inputs_BT, True)
    finally:
        model.train(was_training)


class StopTokens:
    """Delays tokens that may begin a stop sequence."""

    def __init__(self, stop: Sequence[Sequence[int]]) -> None:
        self.stop = [list(sequence) for sequence in stop]
        self.held: list[int] = []
        self.reached = False

    def take(self, token: int, last: bool) -> list[int]:
        """The tokens that are certain to be part of the row after ``token``. ``last``: no token follows."""
        self.held.append(token)
        for sequence in self.stop:
            if self.held[-len(sequence) :] == sequence:
                self.reached = True
                return self.held[: -len(sequence)]
        kept = 0 if last else max((begun(self.held, sequence) for sequence in self.stop), default=0)
        sure = self.held[: len(self.held) - kept]
        self.held = self.held[len(sure) :]
        return sure


def begun(tokens: Sequence[Any], sequence: Sequence[Any]) -> int:
    """The number of last ``tokens`` (or characters) that are the beginning of ``sequence``, but not all of it."""
    for count in range(min(len(tokens), len(sequence) - 1), 0, -1):
        if tokens[-count:] == sequence[:count]:
            return count
    return 0


def _checked(
    model: Any, prompts: Prompts, sampling: Sampling, generators: Sequence[torch.Generator]
) -> tuple[list[list[int]], Sequence[float]]:
    """One prompt and one temperature per row. Raises ``ValueError`` for arguments that do not match."""
    lines = prompts.tolist() if isinstance(prompts, Tensor) else [list(prompt) for prompt in prompts]
    if not lines or not all(lines):
        raise ValueError("give at least one prompt, and at least one token per prompt")
    outside = [token for line in lines for token in line if not 0 <= token < model.vocab_size]
    if outside:  # on a GPU, a device assertion would end the process
        raise ValueError(f"token {outside[0]} of a prompt is not an id of the model, which has {model.vocab_size}")
    temperature = sampling.temperature
    temperatures = [temperature] * len(lines) if isinstance(temperature, int | float) else temperature
    needed = len(lines) if any(temperatures) else len(generators)
    if not len(lines) == len(temperatures) or needed != len(generators):
        raise ValueError(f"{len(lines)} prompts, {len(temperatures)} temperatures, {len(generators)} generators")
    needed, longest = max(map(len, lines)) + sampling.max_new_tokens - 1, model.spec.longest()
    if longest is not None and needed > longest:
        raise ValueError(f"{needed} tokens are needed, and the model can read {longest}: ask for fewer new ones")
    return lines, temperatures


def _padded(lines: list[list[int]], device: torch.device) -> tuple[Tensor, Tensor | None]:
    """(B, T): prompts, padded on the left; and if their lengths differ, −1 for padding and 0 for tokens."""
    length = max(map(len, lines))
    inputs_BT = torch.tensor([[0] * (length - len(line)) + line for line in lines], device=device)
    if all(len(line) == length for line in lines):
        return inputs_BT, None
    documents = [[-1] * (length - len(line)) + [0] * len(line) for line in lines]
    return inputs_BT, torch.tensor(documents, device=device)


def penalised(logits_BV: Tensor, seen_BV: Tensor, penalty: float) -> Tensor:
    """``logits_BV`` with the repetition penalty for the tokens ``seen_BV`` (bool)."""
    lower_BV = torch.where(logits_BV > 0, logits_BV / penalty, logits_BV * penalty)
    return torch.where(seen_BV, lower_BV, logits_BV)


def draw(logits_V: Tensor, temperature: float, sampling: Sampling, generator: torch.Generator) -> int:
    """A token, drawn from ``logits_V`` (on the CPU, fp32) at a temperature above 0."""
    if torch.tensor(temperature, dtype=torch.float32) == 0:  # 0 / 0 is no number
        return int(logits_V.argmax())
    # Descending and stable, so that equal logits keep the order of their ids on every machine.
    ordered_V, ids_V = logits_V.sort(descending=True, stable=True)
    # Subtract the largest first: divided by a temperature near 0, the rest becomes minus infinity, and never inf - inf.
    probabilities_V = torch.softmax((ordered_V[: sampling.top_k] - ordered_V[0]) / temperature, dim=-1)
    if sampling.top_p is not None:
        before_V = probabilities_V.cumsum(-1) - probabilities_V
        kept_V = before_V < sampling.top_p
        kept_V[0] = True  # also if fp32 rounds top_p to 0
        probabilities_V = probabilities_V[kept_V]
    return int(ids_V[torch.multinomial(probabilities_V, 1, generator=generator)])
