"""One small suite of every kind, in files."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from llm_core.experiment.suites import (
    GenerativeSuite,
    InstructionsSuite,
    LastWordSuite,
    MinimalPairsSuite,
    MultipleChoiceSuite,
    PerplexitySuite,
    SuiteSpec,
)


def suites(folder: Path) -> tuple[SuiteSpec, ...]:
    pairs = [
        {"sentence_good": f"the list of {word} returns" + number % 3 * " it .",
         "sentence_bad": f"the list {word} of return" + number % 2 * " it .",
         "paradigm": "odd" if number % 2 else "even"}
        for number, word in enumerate(["files", "values", "λ", "objects", "x=1", "{{ 7 * 7 }}", "modules"])
    ]  # fmt: skip
    answers = ["a", "zq", "the list of a file and returns value"]
    quiz = [{"q": f"what is a {n}?", "options": answers, "gold": gold} for n, gold in enumerate([0, 0, 0, 0, 1, 1, 2])]
    words = [
        {"context": "the list of a file and returns", "continuation": "value"},
        {"context": "an", "continuation": "x"},
    ]
    texts = [{"text": "the list of a file " * 20}] * 2
    return (
        MinimalPairsSuite(name="pairs", path=_written(folder / "pairs.jsonl", pairs)),
        MultipleChoiceSuite(
            name="quiz", path=_written(folder / "quiz.jsonl", quiz), query="q", choices="options", suffix="\nanswer:",
            criterion="tokens", chance=0.3,
        ),
        LastWordSuite(name="words", path=_written(folder / "words.jsonl", words)),
        PerplexitySuite(name="texts", path=_written(folder / "texts.jsonl", texts)),
    )  # fmt: skip


def generative(folder: Path) -> tuple[GenerativeSuite, GenerativeSuite]:
    """Questions with one right answer or two, and texts with a summary."""
    asked = [{"question": f"what is {word}?", "answer": [word, "a file"]} for word in ("value", "list", "λ", "42")]
    texts = [{"text": f"the list of {word} " * 3, "summary": f"the {word} list"} for word in ("files", "values", "x")]
    return (
        GenerativeSuite(name="answers", path=_written(folder / "answers.jsonl", asked), max_new_tokens=6),
        GenerativeSuite(
            name="summaries", path=_written(folder / "summaries.jsonl", texts), prompt="text", answer="summary",
            score="rouge", prefix="", suffix="\nIn short:", stop=("\n\n", "."), max_new_tokens=8,
        ),
    )  # fmt: skip


def in_chat(folder: Path) -> tuple[GenerativeSuite, InstructionsSuite]:
    """Questions and instructions in the chat template."""
    asked = [{"question": f"what is {word}?", "answer": word} for word in ("value", "a list")]
    words = {"num_words": 2, "relation": "less than"}
    rules = ["punctuation:no_comma", "length_constraints:number_words"]
    follow = [{"prompt": prompt, "instruction_id_list": rules, "kwargs": [{}, words]} for prompt in ("go", "write λ")]
    return (
        GenerativeSuite(
            name="talks", path=_written(folder / "talks.jsonl", asked), prefix="", suffix="", max_new_tokens=4,
            chat_template=True,
        ),
        InstructionsSuite(name="follow", path=_written(folder / "follow.jsonl", follow), max_new_tokens=5),
    )  # fmt: skip


def _written(path: Path, records: Sequence[Mapping[str, object]]) -> str:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return str(path)
