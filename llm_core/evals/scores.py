"""The lines of ``scores.jsonl`` (one per item), and the scores of a task from its lines (``evals.jsonl``)."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from llm_core.errors import PedigreeError
from llm_core.evals.generated import LOOSE, ROUGE, STRICT, TEXT
from llm_core.evals.suite_tasks import RIGHT, RIGHT_BY, RIGHT_PER_BYTE
from llm_core.evals.tasks import CHOICE_BITS, GAIN, LIKELIHOOD
from llm_core.intervals import Estimate, clustered_mean, clustered_share

DIGITS = 6
"""Later digits are noise of parallel sums."""

Line = dict[str, Any]
Row = dict[str, Any]

_CORRECT = {
    GAIN: "correct",
    RIGHT: "correct",
    RIGHT_PER_BYTE: "correct_per_byte",
    RIGHT_BY["characters"]: "correct_per_character",
    RIGHT_BY["tokens"]: "correct_per_token",
    LIKELIHOOD: "correct_by_likelihood",
}
"""What lm-eval's tasks call it → the field of an item's line."""

_ACCURACIES = {
    "correct": "accuracy",
    "correct_per_byte": "accuracy_per_byte",
    "correct_per_character": "accuracy_per_character",
    "correct_per_token": "accuracy_per_token",
    "correct_by_likelihood": "accuracy_likelihood",
}


PROMPT_LEVEL = ("prompt_level_strict", "prompt_level_loose")
INSTRUCTION_LEVEL = ("instruction_level_strict", "instruction_level_loose")
"""Names of scores as in IFEval."""


def instructions_line(score: Mapping[str, Any], item_id: str, rules: Sequence[str]) -> Line:
    """What is known of an item with ``rules`` (their names): which of them its answer keeps, whether all, and the share
    of them. No answer is the right one, so there are no bits."""
    forms = score[STRICT], score[LOOSE]
    return {
        "task": score["task"],
        "item_id": item_id,
        "cluster": item_id,
        **{name: int(all(form)) for name, form in zip(PROMPT_LEVEL, forms, strict=True)},
        **{name: round(sum(form) / len(rules), DIGITS) for name, form in zip(INSTRUCTION_LEVEL, forms, strict=True)},
        "rules": [
            {"rule": rule, "strict": strict, "loose": loose} for rule, strict, loose in zip(rules, *forms, strict=True)
        ],
        TEXT: score[TEXT],
    }


def item_line(score: Mapping[str, Any], item_id: str, cluster: str, choices: int, gold: int, size: int) -> Line:
    """What is known of one item: its task, cluster and number of choices; whether the model is right, by each
    criterion; what it wrote; the bits of every choice; and bits, bytes, and bits per byte of the right one.

    ``score``: the item's record of the evaluation process. Items of a ``cluster`` (a document, a paradigm) are alike.
    ``size``: bytes of the right choice, with what stands between it and its context.
    """
    bits = [round(value, DIGITS) for value in score[CHOICE_BITS][:choices]]
    return {
        "task": score["task"],
        "item_id": item_id,
        "cluster": cluster,
        "choices": choices,
        "gold": gold,
        **{field: int(score[name]) for name, field in _CORRECT.items() if name in score},
        **{name: round(score[name], DIGITS) for name in ROUGE if name in score},
        **({TEXT: score[TEXT]} if TEXT in score else {}),
        "choice_bits": bits,
        "bits": bits[gold],
        "bytes": size,
        "bits_per_byte": round(bits[gold] / size, DIGITS),
    }


def task_rows(lines: Sequence[Line], chance: float | None = None) -> list[Row]:
    """The scores of a task: accuracy by each criterion, ROUGE of summaries, and bits per byte of the right choices; of
    instructions, the share of prompts whose rules are all kept, and of rules. The rules of a prompt are a cluster.
    ``chance``: that of the suite, if it gives one."""
    task, clusters = lines[0]["task"], [line["cluster"] for line in lines]
    if "rules" in lines[0]:
        prompts = [
            row(task, name, accuracy([line[name] for line in lines], clusters), len(lines)) for name in PROMPT_LEVEL
        ]
        every = [(line["cluster"], rule) for line in lines for rule in line["rules"]]
        owners = [owner for owner, _ in every]
        kept = {
            name: accuracy([rule[form] for _, rule in every], owners)
            for name, form in zip(INSTRUCTION_LEVEL, ("strict", "loose"), strict=True)
        }
        return [*prompts, *(row(task, name, found, len(every)) for name, found in kept.items())]
    choices = [line["choices"] for line in lines]
    if chance is None and min(choices) > 1:
        chance = sum(1 / count for count in choices) / len(lines)
    accuracies = [
        row(task, metric, accuracy([line[field] for line in lines], clusters), len(lines), chance)
        for field, metric in _ACCURACIES.items()
        if field in lines[0]
    ]
    measures = [
        row(task, name, clustered_mean([line[name] for line in lines], clusters), len(lines))
        for name in ROUGE
        if name in lines[0]
    ]
    bits = bits_per_byte([line["bits"] for line in lines], [line["bytes"] for line in lines], clusters)
    return [*accuracies, *measures, row(task, "bits_per_byte", bits, len(lines))]


def accuracy(correct: Sequence[float], clusters: Sequence[str]) -> Estimate:
    """The share of items that are correct."""
    return clustered_share(correct, clusters)


def bits_per_byte(bits: Sequence[float], sizes: Sequence[float], clusters: Sequence[str]) -> Estimate:
    """All bits over all bytes."""
    return clustered_mean([amount / size for amount, size in zip(bits, sizes, strict=True)], clusters, sizes)


def row(task: str, metric: str, score: Estimate, n: int, chance: float | None = None) -> Row:
    """One line of ``evals.jsonl``: a score with its standard error and 95% interval, which are None with one cluster.

    Raises ``PedigreeError`` for a value that is not finite.
    """
    value, *spread = score
    if not math.isfinite(value):
        raise PedigreeError(
            f"{task}: {metric} is {value}: the model's outputs are not finite; look at its training loss"
        )
    stderr, low, high = (round(bound, DIGITS) if math.isfinite(bound) else None for bound in spread)
    return {
        "task": task,
        "metric": metric,
        "value": round(value, DIGITS),
        "stderr": stderr,
        "low": low,
        "high": high,
        "n": n,
        "chance": chance,
    }


def interval(scored: Row) -> tuple[float, float] | None:
    """The bounds of a row of ``evals.jsonl``."""
    return None if scored["low"] is None else (scored["low"], scored["high"])
