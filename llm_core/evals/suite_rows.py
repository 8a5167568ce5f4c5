"""Converts suites to model inputs, and scores of answers to rows of ``evals.jsonl``."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from llm_core.data.suites import Item
from llm_core.evals.scores import ratio, row
from llm_core.evals.suite_tasks import BITS, RIGHT, RIGHT_PER_BYTE
from llm_core.experiment.suites import LastWordSuite, MinimalPairsSuite, MultipleChoiceSuite, SuiteSpec

Row = dict[str, str | int | float | None]


def asked(suite: SuiteSpec, item: Item) -> dict[str, Any]:
    """The input of the model for an item."""
    context, delimiter = item.context, ""
    if isinstance(suite, MultipleChoiceSuite):
        context, delimiter = f"{suite.prefix}{context}{suite.suffix}", suite.delimiter
    elif isinstance(suite, LastWordSuite):
        delimiter = suite.delimiter
    return {"context": context, "choices": list(item.choices), "gold": item.gold, "delimiter": delimiter}


def suite_rows(suite: SuiteSpec, items: Sequence[Item], scores: Sequence[Mapping[str, Any]]) -> list[Row]:
    """The suite's metrics with standard errors over items, the number of items, and chance."""
    sizes = [len(f"{asked(suite, item)['delimiter']}{item.choices[item.gold]}".encode()) for item in items]
    ones = [1] * len(items)
    chance = None
    if isinstance(suite, MinimalPairsSuite | MultipleChoiceSuite):
        chance = sum(1 / len(item.choices) for item in items) / len(items)
    measured = [
        ("accuracy", RIGHT, ones, chance),
        ("accuracy_per_byte", RIGHT_PER_BYTE, ones, chance),
        ("bits_per_byte", BITS, sizes, None),
    ]
    return [
        row(suite.name, metric, *ratio([score[name] for score in scores], amounts), len(items), guessed)
        for metric, name, amounts, guessed in measured
        if name in scores[0]
    ]


def suite_stats(
    suite: SuiteSpec, items: Sequence[Item], scores: Sequence[Mapping[str, Any]], rows: Sequence[Row]
) -> dict[str, Any]:
    """The same metrics for the manifest; for minimal pairs also the accuracy of every group."""
    stats: dict[str, Any] = {
        "kind": suite.kind,
        "items": len(items),
        **{str(line["metric"]): line["value"] for line in rows},
    }
    if isinstance(suite, MinimalPairsSuite) and suite.group is not None:
        groups: dict[str, list[float]] = defaultdict(list)
        for item, score in zip(items, scores, strict=True):
            groups[item.group].append(score[RIGHT])
        stats["accuracy_by_group"] = {name: round(sum(right) / len(right), 6) for name, right in sorted(groups.items())}
    return stats
