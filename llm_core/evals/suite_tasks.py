"""The lm-eval tasks of suites, in the evaluation process. They follow lm-eval's conventions: docs/evaluation.md."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from llm_core.evals.tasks import local_task, score_document

RIGHT = "right"
RIGHT_PER_BYTE = "right_per_byte"
RIGHT_BY = {"characters": "right_per_character", "tokens": "right_per_token"}
"""Criterion of a suite → whether the model is right by it."""
SIZES = "sizes"
"""Characters or tokens of the choices, in rows of a suite with such a criterion."""
BITS = "bits"

Answer = tuple[float, bool]


def suite_task(name: str, kind: str, rows: Path, criterion: str = "sum") -> dict[str, Any]:
    """The task of one suite. ``rows``: JSON lines with ``context``, ``choices``, ``gold`` and ``delimiter``."""
    if kind == "perplexity":
        asked: dict[str, Any] = {
            "output_type": "loglikelihood_rolling",
            "doc_to_text": _nothing,
            "doc_to_target": _only,
        }
    elif kind in ("last_word", "generative"):
        asked = {"output_type": "loglikelihood", "doc_to_text": _context, "doc_to_target": _continuation}
    else:
        asked = {
            "output_type": "multiple_choice",
            "doc_to_text": _context,
            "doc_to_choice": _continuations,
            "doc_to_target": _gold,
        }
    metrics, score = _SCORED[kind]
    if criterion in RIGHT_BY:
        metrics, score = (*metrics, RIGHT_BY[criterion]), partial(score_choices, by=RIGHT_BY[criterion])
    return {
        **local_task(name, rows),
        **asked,
        # The continuations already contain it.
        "target_delimiter": "",
        "process_results": score,
        "metric_list": [
            {"metric": metric, "aggregation": sum, "higher_is_better": metric != BITS} for metric in metrics
        ],
    }


def score_pair(row: Mapping[str, Any], results: Sequence[Answer]) -> dict[str, float]:
    """Whether the grammatical sentence is likelier, counting all tokens of both."""
    return {RIGHT: _is_best([nats for nats, _ in results], row["gold"])}


def score_choices(row: Mapping[str, Any], results: Sequence[Answer], by: str = "") -> dict[str, float]:
    """Whether the right choice is the likeliest, in total and per byte; and its bits. ``by``: the name of one more
    verdict, per unit of ``SIZES``."""
    nats = [value for value, _ in results]
    per_byte = [value / len(choice.encode("utf-8")) for value, choice in zip(nats, row["choices"], strict=True)]
    gold = row["gold"]
    return {
        **({by: _is_best([value / size for value, size in zip(nats, row[SIZES], strict=True)], gold)} if by else {}),
        RIGHT: _is_best(nats, gold),
        RIGHT_PER_BYTE: _is_best(per_byte, gold),
        BITS: -nats[gold] / math.log(2),
    }


def score_word(_: Mapping[str, Any], results: Sequence[Answer]) -> dict[str, float]:
    """Whether greedy decoding gives the word's tokens; and their bits."""
    ((nats, greedy),) = results
    return {RIGHT: float(greedy), BITS: -nats / math.log(2)}


def score_answer(_: Mapping[str, Any], results: Sequence[Answer]) -> dict[str, float]:
    """The bits of the right answer. What the model writes itself is another task (``llm_core.evals.generated``)."""
    ((nats, _greedy),) = results
    return {BITS: -nats / math.log(2)}


def _is_best(values: Sequence[float], gold: int) -> float:
    """1 if ``values[gold]`` is above all others; a tie gives 0."""
    return float(all(values[gold] > value for place, value in enumerate(values) if place != gold))


_SCORED: dict[str, tuple[tuple[str, ...], Callable[..., dict[str, float]]]] = {
    "minimal_pairs": ((RIGHT,), score_pair),
    "multiple_choice": ((RIGHT, RIGHT_PER_BYTE, BITS), score_choices),
    "last_word": ((RIGHT, BITS), score_word),
    "generative": ((BITS,), score_answer),
    "perplexity": ((BITS,), score_document),
}


def _nothing(_: Mapping[str, Any]) -> str:
    return ""


def _only(row: Mapping[str, Any]) -> str:
    return str(row["choices"][0])


def _context(row: Mapping[str, Any]) -> str:
    return str(row["context"])


def _continuation(row: Mapping[str, Any]) -> str:
    return f"{row['delimiter']}{row['choices'][0]}"


def _continuations(row: Mapping[str, Any]) -> list[str]:
    return [f"{row['delimiter']}{choice}" for choice in row["choices"]]


def _gold(row: Mapping[str, Any]) -> int:
    return int(row["gold"])
