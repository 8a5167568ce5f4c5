"""Converts suites to model inputs, and scores of answers to lines of ``scores.jsonl``."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from llm_core.data.suites import Item
from llm_core.evals.scores import Line, Row, accuracy, instructions_line, interval, item_line, row
from llm_core.experiment.suites import (
    GenerativeSuite,
    InstructionsSuite,
    LastWordSuite,
    MinimalPairsSuite,
    MultipleChoiceSuite,
    SuiteSpec,
)


def asked(suite: SuiteSpec, item: Item) -> dict[str, Any]:
    """The input of the model for an item."""
    context, delimiter = item.context, ""
    if isinstance(suite, MultipleChoiceSuite):
        return _question(suite, item)
    if isinstance(suite, LastWordSuite):
        if suite.strip:
            word = item.choices[item.gold].strip()
            return {"context": context.strip(), "choices": [word], "gold": 0, "delimiter": suite.delimiter}
        delimiter = suite.delimiter
    elif isinstance(suite, GenerativeSuite):
        return {
            "context": f"{suite.prefix}{context}{suite.suffix}",
            "choices": [item.choices[item.gold]],
            "gold": 0,
            "delimiter": suite.delimiter,
            "answers": list(item.choices),
            "max_new_tokens": suite.max_new_tokens,
        }
    elif isinstance(suite, InstructionsSuite):
        # As text: a table has one type for the arguments of all rules.
        return {
            "context": context,
            "choices": [],
            "gold": 0,
            "delimiter": "",
            "rules": json.dumps(item.rules),
            "max_new_tokens": suite.max_new_tokens,
        }
    return {"context": context, "choices": list(item.choices), "gold": item.gold, "delimiter": delimiter}


LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def _question(suite: MultipleChoiceSuite, item: Item) -> dict[str, Any]:
    query = item.context.strip() if suite.strip else item.context
    query = f"{suite.prefix}{query.removeprefix(suite.remove_prefix)}"
    choices: Sequence[str] = item.choices
    if suite.lettered:
        lines = (f" {letter}. {choice}" for letter, choice in zip(LETTERS, choices, strict=False))
        query = "\n".join([query, f"{suite.before_choices}{next(lines)}", *lines])
        choices = LETTERS[: len(choices)]
    return {
        "context": f"{query}{suite.suffix}",
        "choices": list(choices),
        "gold": item.gold,
        "delimiter": suite.delimiter,
    }


def described(suite: SuiteSpec, rows: str) -> dict[str, Any]:
    """What the evaluation process is told of a suite. ``rows``: the file of its inputs."""
    told: dict[str, Any] = {"name": suite.name, "kind": suite.kind, "rows": rows}
    if isinstance(suite, MultipleChoiceSuite):
        told["criterion"] = suite.criterion
    if isinstance(suite, GenerativeSuite | InstructionsSuite):
        told["generation"] = {
            "score": suite.score if isinstance(suite, GenerativeSuite) else "rules",
            "stop": list(suite.stop),
            "max_new_tokens": suite.max_new_tokens,
        }
    return told


def in_chat(suite: SuiteSpec) -> bool:
    """Whether the model reads the suite's contexts in its chat template."""
    return isinstance(suite, MultipleChoiceSuite | GenerativeSuite | InstructionsSuite) and suite.chat_template


def suite_lines(suite: SuiteSpec, items: Sequence[Item], scores: Sequence[Mapping[str, Any]]) -> list[Line]:
    """The line of each item. Items of a group are a cluster; without groups, each item is one."""
    if isinstance(suite, InstructionsSuite):
        return [
            instructions_line(score, item.item_id, [rule.name for rule in item.rules])
            for item, score in zip(items, scores, strict=True)
        ]
    return [
        item_line(
            score,
            item.item_id,
            item.group or item.item_id,
            1 if isinstance(suite, GenerativeSuite) else len(item.choices),  # several may be right
            item.gold,
            _size(suite, asked(suite, item)),
        )
        for item, score in zip(items, scores, strict=True)
    ]


def _size(suite: SuiteSpec, row: Mapping[str, Any]) -> int:
    """Bytes of the right choice, with what stands between it and its context."""
    delimiter = "" if in_chat(suite) else row["delimiter"]
    return len(f"{delimiter}{row['choices'][row['gold']]}".encode())


def suite_stats(suite: SuiteSpec, lines: Sequence[Line], rows: Sequence[Row]) -> dict[str, Any]:
    """The suite's scores for the manifest, with their 95% intervals; for minimal pairs also of every group, and for
    instructions of every rule (strictly)."""
    stats: dict[str, Any] = {
        "kind": suite.kind,
        "items": len(lines),
        **{scored["metric"]: scored["value"] for scored in rows},
        "intervals": {scored["metric"]: interval(scored) for scored in rows},
    }
    groups: dict[str, list[tuple[float, str]]] = defaultdict(list)
    if isinstance(suite, MinimalPairsSuite) and suite.group is not None:
        for line in lines:
            groups[line["cluster"]].append((line["correct"], line["item_id"]))
    if isinstance(suite, InstructionsSuite):
        for line in lines:
            for rule in line["rules"]:
                groups[rule["rule"]].append((rule["strict"], line["item_id"]))
    if groups:
        scores = {
            name: row(name, "accuracy", accuracy(*zip(*members, strict=True)), len(members))
            for name, members in sorted(groups.items())
        }
        stats["accuracy_by_group"] = {name: found["value"] for name, found in scores.items()}
        stats["intervals_by_group"] = {name: interval(found) for name, found in scores.items()}
    return stats
