"""The inputs of the model for a suite, with solved items before each context (few-shot; Brown et al., 2020)."""

import random
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tokenizers import Tokenizer

from llm_core.chat.model_chat import ModelChat
from llm_core.data.suites import Item, read_suite, sample_suite, solved_suite
from llm_core.errors import PedigreeError
from llm_core.evals.documents import order
from llm_core.evals.lm_rows import PROMPT, STOP, encode_pair
from llm_core.evals.suite_rows import asked, in_chat
from llm_core.evals.suite_tasks import SIZES
from llm_core.experiment.suites import MultipleChoiceSuite, SuiteSpec

SEPARATOR = "\n\n"
"""Between two items, as in lm-eval; suites of kind ``multiple_choice`` can have another."""


class Prompts(NamedTuple):
    """``inputs`` of the model, one per item. ``shortened``: how many have fewer solved items than ``solved``. ``cut``:
    how many lose the beginning of the chat template, since they are too long; None without one."""

    inputs: list[dict[str, Any]]
    solved: int
    shortened: int
    cut: int | None

    def stats(self) -> dict[str, int]:
        """For the manifest; empty without solved items and chat template."""
        shots = {"few_shot": self.solved, "prompts_shortened": self.shortened} if self.solved else {}
        return shots if self.cut is None else {**shots, "chat_prompts_cut": self.cut}


def prompts(
    suite: SuiteSpec,
    items: Sequence[Item],
    count: int,
    tokenizer: Tokenizer,
    length: int,
    chat: ModelChat | None = None,
) -> Prompts:
    """The inputs for ``items``, with ``count`` solved items each, for a model that reads ``length`` tokens at once.

    A prompt has the last of the solved items with which every choice fits. Without any, a context that is too long
    loses its beginning, as in other suites. ``chat``: how one talks to the model, for suites in its chat template.
    """
    same, drawn = solved_items(suite, count), drawn_items(suite, count)
    separator = suite.separator if isinstance(suite, MultipleChoiceSuite) else SEPARATOR
    inputs, shortened, cut = [], 0, 0
    for item in items:
        zero_shot = asked(suite, item)
        rows = (asked(suite, shown) for shown in drawn.get(item.item_id, same))
        solved = [_answered(row, row["gold"]) for row in rows]
        for first in range(len(solved) + 1):
            prompt = {**zero_shot, "context": separator.join([*solved[first:], zero_shot["context"]])}
            if in_chat(suite):
                assert chat is not None
                prompt = _in_chat(prompt, suite, item, chat)
            elif first == len(solved):
                break
            fits = _tokens(prompt, tokenizer) <= length + 1  # the last token is only predicted
            if fits:
                break
        else:
            cut += in_chat(suite)
        if isinstance(suite, MultipleChoiceSuite) and suite.criterion in ("characters", "tokens"):
            prompt[SIZES] = _sizes(prompt, suite.criterion, tokenizer)
        inputs.append(prompt)
        shortened += first > 0
    return Prompts(inputs, count, shortened, cut if in_chat(suite) else None)


def solved_items(suite: SuiteSpec, count: int) -> list[Item]:
    """The ``count`` items that stand solved before each context, in their order. Empty where others are drawn for each.

    They are the first ones of the suite's file of solved items. Without one, a hash chooses them among those that are
    not asked. It is not the seed: scores of runs with other seeds are comparable. Raises ``PedigreeError`` when there
    are too few.
    """
    if not count:
        return []
    if _draws(suite):
        if (there := len(read_suite(suite))) <= count:
            raise PedigreeError(
                f"{suite.path}: has {there} items, and evaluation.few_shot wants {count} others: lower it"
            )
        return []
    if (own := solved_suite(suite)) is not None:
        items = read_suite(own)
        if len(items) < count:
            raise PedigreeError(f"{own.path}: has {len(items)} items, and evaluation.few_shot wants {count}: lower it")
        return items[:count]
    asked_too = {item.context for item in sample_suite(suite)}
    left = {item.context: item for item in read_suite(suite) if item.context not in asked_too}
    names = sorted(left, key=lambda context: order(0, "few_shot", context))[:count]
    if len(names) < count:
        raise PedigreeError(
            f"evaluation.few_shot: {suite.name} needs {count} items that are not asked, and {suite.path} has "
            f"{len(names)}; lower the suite's max_items ({suite.max_items}), or few_shot"
        )
    return [left[name] for name in names]


def drawn_items(suite: SuiteSpec, count: int) -> dict[str, list[Item]]:
    """Item → the solved items before it, where a suite draws others for each; else empty.

    They are those of llm-foundry 0.9, which goes through the file with one random generator, and writes the items in
    the order of a set of their places.
    """
    if not count or not _draws(suite):
        return {}
    items, generator = read_suite(suite), random.Random(1234)
    found, places = {}, range(len(items))
    for place, item in enumerate(items):
        chosen = set(generator.sample(places, count))
        if place in chosen:
            chosen.remove(place)
            while (other := generator.choice(places)) in {*chosen, place}:
                pass
            chosen.add(other)
        found[item.item_id] = [items[number] for number in chosen]
    return found


def _draws(suite: SuiteSpec) -> bool:
    return isinstance(suite, MultipleChoiceSuite) and suite.draw_shots


def _in_chat(prompt: dict[str, Any], suite: SuiteSpec, item: Item, chat: ModelChat) -> dict[str, Any]:
    """The prompt as token ids, since control tokens have no text."""
    try:
        ids = chat.prompt([{"role": "user", "content": prompt["context"]}])
    except PedigreeError as error:
        raise PedigreeError(f"{suite.path}: line {item.item_id}, in the chat template: {error}") from None
    return {**prompt, "delimiter": "", PROMPT: ids, STOP: chat.stop()}


def _sizes(prompt: Mapping[str, Any], criterion: str, tokenizer: Tokenizer) -> list[int]:
    """By what the likelihood of each choice is divided. The delimiter is a part of tokens, but not of characters."""
    if criterion == "characters":
        return [len(choice) for choice in prompt["choices"]]
    if PROMPT in prompt:
        return [len(found.ids) for found in tokenizer.encode_batch(prompt["choices"], add_special_tokens=False)]
    texts = (f"{prompt['delimiter']}{choice}" for choice in prompt["choices"])
    return [len(encode_pair(tokenizer, prompt["context"], text)[1]) for text in texts]


def _answered(item: Mapping[str, Any], choice: int) -> str:
    return f"{item['context']}{item['delimiter']}{item['choices'][choice]}"


def _tokens(item: Mapping[str, Any], tokenizer: Tokenizer) -> int:
    """Tokens of the prompt with the choice that makes it longest, or with all that the model may write."""
    begun = len(item.get(PROMPT, ()))
    texts = item["choices"] if begun else [_answered(item, choice) for choice in range(len(item["choices"]))]
    found = tokenizer.encode_batch(["" if begun else item["context"], *texts], add_special_tokens=False)
    alone, *lengths = (begun + len(encoding.ids) for encoding in found)
    written = [alone + item["max_new_tokens"] + 1] if "max_new_tokens" in item else []  # as ``generate_until`` counts
    return max([*written, *lengths])
