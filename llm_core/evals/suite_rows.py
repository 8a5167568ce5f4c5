"""Converts suites to model inputs, and scores of answers to lines of ``scores.jsonl``."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from llm_core.data.suites import Item
from llm_core.evals.scores import Line, Row, accuracy, interval, item_line, row
from llm_core.experiment.suites import (
    GenerativeSuite,
    LastWordSuite,
    MinimalPairsSuite,
    MultipleChoiceSuite,
    SuiteSpec,
)


def asked(suite: SuiteSpec, item: Item) -> dict[str, Any]:
    """The input of the model for an item."""
    context, delimiter = item.context, ""
    if isinstance(suite, MultipleChoiceSuite):
        context, delimiter = f"{suite.prefix}{context}{suite.suffix}", suite.delimiter
    elif isinstance(suite, LastWordSuite):
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
    return {"context": context, "choices": list(item.choices), "gold": item.gold, "delimiter": delimiter}


def described(suite: SuiteSpec, rows: str) -> dict[str, Any]:
    """What the evaluation process is told of a suite. ``rows``: the file of its inputs."""
    told: dict[str, Any] = {"name": suite.name, "kind": suite.kind, "rows": rows}
    if isinstance(suite, GenerativeSuite):
        told["generation"] = {
            "score": suite.score,
            "stop": list(suite.stop),
            "max_new_tokens": suite.max_new_tokens,
        }
    return told


def suite_lines(suite: SuiteSpec, items: Sequence[Item], scores: Sequence[Mapping[str, Any]]) -> list[Line]:
    """The line of each item. Items of a group are a cluster; without groups, each item is one."""
    return [
        item_line(
            score,
            item.item_id,
            item.group or item.item_id,
            1 if isinstance(suite, GenerativeSuite) else len(item.choices),  # several may be right
            item.gold,
            len(f"{asked(suite, item)['delimiter']}{item.choices[item.gold]}".encode()),
        )
        for item, score in zip(items, scores, strict=True)
    ]


def suite_stats(suite: SuiteSpec, lines: Sequence[Line], rows: Sequence[Row]) -> dict[str, Any]:
    """The suite's scores for the manifest, with their 95% intervals; for minimal pairs also of every group."""
    stats: dict[str, Any] = {
        "kind": suite.kind,
        "items": len(lines),
        **{scored["metric"]: scored["value"] for scored in rows},
        "intervals": {scored["metric"]: interval(scored) for scored in rows},
    }
    if isinstance(suite, MinimalPairsSuite) and suite.group is not None:
        groups: dict[str, list[Line]] = defaultdict(list)
        for line in lines:
            groups[line["cluster"]].append(line)
        scores = {
            name: row(name, "accuracy", accuracy([line["correct"] for line in members], _names(members)), len(members))
            for name, members in sorted(groups.items())
        }
        stats["accuracy_by_group"] = {name: found["value"] for name, found in scores.items()}
        stats["intervals_by_group"] = {name: interval(found) for name, found in scores.items()}
    return stats


def _names(lines: Sequence[Line]) -> list[str]:
    return [line["item_id"] for line in lines]
