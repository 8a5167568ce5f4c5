"""A Pedigree model behind lm-eval's interface, in process.

Shapes: B rows of a batch, T tokens of the longest row in it, V vocabulary.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch
from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window
from tokenizers import Tokenizer
from torch import Tensor, nn

from llm_core.errors import PedigreeError
from llm_core.evals.lm_rows import PROMPT, STOP, encode_pair
from llm_core.model.generate import Sampling, generate
from llm_core.train.precision import autocast

Request = tuple[Any, list[int], list[int]]
"""(whether it is a conversation, tokens before, tokens to score)."""
Row = tuple[list[int], list[int], bool]
"""(input tokens, target tokens of the last positions, whether they are a conversation)."""


@dataclass(frozen=True)
class _Asked:
    """A request for a continuation of ``context`` (or of ``prompt``, where there is one), up to the first string of
    ``until`` or a token of ``stop``."""

    context: str
    prompt: tuple[int, ...]
    until: tuple[str, ...]
    stop: tuple[int, ...]
    max_new_tokens: int

    @classmethod
    def of(cls, row: dict[str, Any], context: str, options: dict[str, Any]) -> "_Asked":
        """From a request's row and arguments."""
        until = options.get("until") or []
        if options.get("do_sample") or options.get("temperature"):
            raise PedigreeError(f"a task asks for sampling ({options}); only greedy decoding is supported")
        if "max_gen_toks" not in options:
            raise PedigreeError("a task of type generate_until must say how long its answers are: give max_gen_toks")
        ends, length = tuple([until] if isinstance(until, str) else until), options["max_gen_toks"]
        if "" in ends:
            raise PedigreeError(
                "a task ends its answers at an empty string, which is everywhere: leave it out of 'until'"
            )
        if not isinstance(length, int) or length < 1:
            raise PedigreeError(f"a task's max_gen_toks is {length!r}; it must be a whole number from 1 on")
        return cls(context, tuple(row.get(PROMPT) or ()), ends, tuple(row.get(STOP) or ()), length)

    def kind(self) -> tuple[Any, ...]:
        """Equal for requests that can be answered at once."""
        return self.max_new_tokens, self.until, self.stop

    def cut(self, text: str) -> str:
        """``text`` up to the first of the strings in ``until``."""
        return text[: min((place for end in self.until if (place := text.find(end)) >= 0), default=len(text))]


class PedigreeLM(TemplateLM):
    """Log-likelihoods and continuations by ``model``, on rows of similar length.

    ``tokenizer``: see ``prompt_tokenizer``. ``max_length``: tokens that the model reads at once (its training length).
    ``workers``: number of parallel batches. ``precision``: fp32, or bf16 for autocast; probabilities are always fp32.
    ``advance(done, total)`` is called after every batch with the numbers of rows.
    """

    def __init__(
        self,
        model: nn.Module,
        tokenizer: Tokenizer,
        eot: int,
        max_length: int,
        batch_size: int,
        workers: int,
        advance: Callable[[int, int], None],
        precision: str = "fp32",
    ) -> None:
        super().__init__()
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.batch_size = batch_size
        self.workers = workers
        self._precision = precision
        self._eot = eot
        self._advance = advance
        self._device = next(model.parameters()).device

    @property
    def eot_token_id(self) -> int:
        """The token that ends every document, and so precedes the next one."""
        return self._eot

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        """Text → ids. Special tokens are never added: documents carry none."""
        assert not add_special_tokens
        ids: list[int] = self.tokenizer.encode(string, add_special_tokens=False).ids
        return ids

    def loglikelihood(self, requests: list[Instance], **_: Any) -> list[tuple[float, bool]]:
        """(nats of the continuation, whether greedy decoding gives it), for pairs of context and continuation."""
        return self._loglikelihood_tokens([self._request(request.doc, *request.args) for request in requests])

    def _request(self, row: dict[str, Any], context: str, continuation: str) -> Request:
        if prompt := row.get(PROMPT):
            return True, prompt, self.tok_encode(continuation)
        before, after = encode_pair(self.tokenizer, context, continuation)
        return False, before or [self._eot], after  # with an empty context, it begins a document

    def loglikelihood_rolling(self, requests: list[Instance], **_: Any) -> list[float]:
        """Log-likelihood (nats) of whole documents. Every token is predicted once, the first from end-of-text."""
        windows: list[Request] = []
        owners: list[int] = []
        for index, request in enumerate(requests):
            (text,) = request.args
            for window in get_rolling_token_windows(
                self.tok_encode(text), prefix_token=self.prefix_token_id, max_seq_len=self.max_length, context_len=1
            ):
                windows.append((False, *make_disjoint_window(window)))
                owners.append(index)
        totals = [0.0] * len(requests)
        for owner, (value, _greedy) in zip(owners, self._loglikelihood_tokens(windows), strict=True):
            totals[owner] += value
        return totals

    def generate_until(self, requests: list[Instance], **_: Any) -> list[str]:
        """Greedy continuations, up to the first of the strings in ``until`` or the end of the document.

        Raises ``PedigreeError`` for a task that asks for sampling, or for more new tokens than the model reads at once.
        """
        asked = [_Asked.of(request.doc, *request.args) for request in requests]
        whole = [list(one.prompt) or self.tok_encode(one.context) for one in asked]
        contexts = [
            ids[-self._room(one.max_new_tokens) :] or [self._eot] for ids, one in zip(whole, asked, strict=True)
        ]
        by_kind: dict[tuple[Any, ...], list[int]] = {}
        for number, one in enumerate(asked):
            by_kind.setdefault(one.kind(), []).append(number)
        batches = []
        for numbers in by_kind.values():
            numbers.sort(key=lambda number: -len(contexts[number]))
            batches += [numbers[start : start + self.batch_size] for start in range(0, len(numbers), self.batch_size)]
        texts = [""] * len(requests)
        done = 0
        with ThreadPoolExecutor(self.workers) as pool:
            made = pool.map(lambda batch: self._continued([contexts[n] for n in batch], asked[batch[0]]), batches)
            for batch, continuations in zip(batches, made, strict=True):
                for number, text in zip(batch, continuations, strict=True):
                    texts[number] = text
                done += len(batch)
                self._advance(done, len(requests))
        return texts

    def _room(self, new_tokens: int) -> int:
        """The number of context tokens that leaves room for ``new_tokens``."""
        if new_tokens >= self.max_length:
            raise PedigreeError(
                f"a task asks for {new_tokens} new tokens, but the model reads {self.max_length} at once: "
                "lower the task's max_gen_toks"
            )
        return self.max_length - new_tokens

    def _continued(self, contexts: list[list[int]], asked: "_Asked") -> list[str]:
        def text(tokens: list[int]) -> str:
            decoded: str = self.tokenizer.decode(tokens, skip_special_tokens=False)
            return decoded

        sampling = Sampling(asked.max_new_tokens, stop=[(token,) for token in {self._eot, *asked.stop}])
        with autocast(self._precision, self._device):  # here, because autocast applies to the current thread only
            rows = generate(
                self.model, contexts, sampling, ended=lambda tokens: any(end in text(tokens) for end in asked.until)
            )
        return [asked.cut(text(tokens)) for tokens in rows]

    def _loglikelihood_tokens(self, requests: Sequence[Request], **_: Any) -> list[tuple[float, bool]]:
        """Requests → (nats of the continuation, whether greedy decoding gives it).

        A context that is too long loses its beginning. Rows are padded on the right, which no earlier position sees.
        """
        rows: list[Row] = []
        owners: list[int] = []
        for index, (conversation, context, continuation) in enumerate(requests):
            for row in self._rows(context, continuation, conversation):
                rows.append(row)
                owners.append(index)
        results = [(0.0, True)] * len(requests)
        by_length = sorted(range(len(rows)), key=lambda number: -len(rows[number][0]))
        batches = list(self._batches(by_length, [len(inputs) + 1 for inputs, *_ in rows]))
        done = 0
        with ThreadPoolExecutor(self.workers) as pool:
            scored = pool.map(self._score, ([rows[number] for number in batch] for batch in batches))
            for batch, scores in zip(batches, scored, strict=True):
                for number, (nats, greedy) in zip(batch, scores, strict=True):
                    before, all_greedy = results[owners[number]]
                    results[owners[number]] = before + nats, all_greedy and greedy
                done += len(batch)
                self._advance(done, len(rows))
        return results

    def _batches(self, by_length: Sequence[int], lengths: Sequence[int]) -> Iterator[Sequence[int]]:
        """Batches of rows: ``batch_size`` rows of full length, or more short rows with the same number of tokens."""
        start = 0
        while start < len(by_length):
            longest = min(lengths[by_length[start]], self.max_length)
            stop = start + self.batch_size * max(1, self.max_length // longest)
            yield by_length[start:stop]
            start = stop

    def _rows(self, context: list[int], continuation: list[int], conversation: bool) -> Iterator[Row]:
        """The rows that score a continuation, each token once. A long continuation needs more than one row."""
        assert context, "the first token is predicted from something"
        if not continuation:
            raise PedigreeError("an answer adds no token to its question; give its suite a 'delimiter'")
        tokens = context + continuation
        for start in range(len(context), len(tokens), self.max_length):
            stop = min(start + self.max_length, len(tokens))
            yield tokens[max(0, stop - 1 - self.max_length) : stop - 1], tokens[start:stop], conversation

    @torch.inference_mode()
    def _score(self, rows: list[Row]) -> list[tuple[float, bool]]:
        inputs_BT = torch.full((len(rows), max(len(row) for row, *_ in rows)), self._eot, dtype=torch.long)
        for place, (row, *_) in enumerate(rows):
            inputs_BT[place, : len(row)] = torch.tensor(row)
        # As in training: an end-of-text token in the input begins the next document, but not within a conversation.
        document_ids_BT = (inputs_BT == self._eot).long().cumsum(dim=1)
        document_ids_BT[[conversation for *_, conversation in rows]] = 0
        with autocast(self._precision, self._device):
            logits_BTV = self.model(inputs_BT.to(self._device), document_ids_BT=document_ids_BT.to(self._device))
        return [
            _score_row(logits_BTV[place, len(row) - len(targets) : len(row)], targets)
            for place, (row, targets, _) in enumerate(rows)
        ]


def _score_row(logits_TV: Tensor, targets: list[int]) -> tuple[float, bool]:
    targets_T = torch.tensor(targets, device=logits_TV.device)
    logprobs_T = torch.log_softmax(logits_TV.float(), dim=-1).gather(1, targets_T[:, None])[:, 0]
    greedy = bool((logits_TV.argmax(dim=-1) == targets_T).all())
    return float(logprobs_T.double().sum()), greedy
