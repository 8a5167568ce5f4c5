"""The local lm-eval tasks.

They are code, not YAML files, so that the code digest includes them: a changed task changes the identity. Text and
choices come from functions, because lm-eval renders strings as Jinja and turns digits into numbers.
"""

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datasets import Dataset

HELDOUT = "heldout"
CONTINUATION = "continuation"
GAIN = "acc_mutual_info"
LIKELIHOOD = "correct_likelihood"
CHOICE_BITS = "choice_bits"
"""The bits of every choice of an item, in the records of the evaluation process."""


def heldout_task(rows: Path) -> dict[str, Any]:
    """Bits of every whole document of a JSON-lines file with ``doc_id`` and ``text``."""
    return {
        **local_task(HELDOUT, rows),
        "output_type": "loglikelihood_rolling",
        "doc_to_text": _nothing,
        "doc_to_target": _text,
        "process_results": score_document,
        "metric_list": [{"metric": "bits", "aggregation": sum, "higher_is_better": False}],
    }


def continuation_task(rows: Path) -> dict[str, Any]:
    """Right or wrong for every question of a JSON-lines file with ``context``, ``choices`` and ``gold``."""
    return {
        **local_task(CONTINUATION, rows),
        "output_type": "multiple_choice",
        "doc_to_text": _context,
        "doc_to_choice": _choices,
        "doc_to_target": _gold,
        # A continuation starts with the space after its context.
        "target_delimiter": "",
        "process_results": score_question,
        "metric_list": [
            # The name makes lm-eval request every choice a second time, without the context.
            {"metric": GAIN, "aggregation": sum, "higher_is_better": True},
            {"metric": LIKELIHOOD, "aggregation": sum, "higher_is_better": True},
            {"metric": "bits", "aggregation": sum, "higher_is_better": False},
        ],
    }


def score_document(_: Mapping[str, Any], results: list[float]) -> dict[str, float]:
    """Bits of the document."""
    (nats,) = results
    return {"bits": -nats / math.log(2)}


def score_question(row: Mapping[str, Any], results: list[tuple[float, bool]]) -> dict[str, float]:
    """Whether the model picks the real continuation, by two criteria; and its bits.

    ``results``: every choice after the context, then every choice after an end-of-text token only. By gain, the model
    picks the choice whose bits the context lowers most (Holtzman et al., 2021). By likelihood, it picks the choice with
    the fewest bits per byte, which mostly measures how common a text is.
    """
    bits = [-nats / math.log(2) for nats, _ in results]
    after, alone = bits[: len(row["choices"])], bits[len(row["choices"]) :]
    gains = [before - cost for before, cost in zip(alone, after, strict=True)]
    per_byte = [cost / len(choice.encode("utf-8")) for cost, choice in zip(after, row["choices"], strict=True)]
    return {
        GAIN: float(gains.index(max(gains)) == row["gold"]),
        LIKELIHOOD: float(per_byte.index(min(per_byte)) == row["gold"]),
        "bits": after[row["gold"]],
    }


def local_task(name: str, rows: Path) -> dict[str, Any]:
    """The settings of all tasks: a JSON-lines file of rows, zero-shot."""
    return {
        "task": name,
        "custom_dataset": _reader(rows),
        "test_split": "test",
        "num_fewshot": 0,
        "metadata": {"version": 1},
    }


def _reader(path: Path) -> "Callable[..., dict[str, Dataset]]":
    """Loads the rows into memory, because ``datasets`` would cache the files that it loads in the user's home."""

    def read(**_: Any) -> "dict[str, Dataset]":
        from datasets import Dataset

        return {"test": Dataset.from_list([json.loads(line) for line in path.read_bytes().split(b"\n") if line])}

    return read


def _nothing(_: Mapping[str, Any]) -> str:
    return ""


def _text(row: Mapping[str, Any]) -> str:
    return str(row["text"])


def _context(row: Mapping[str, Any]) -> str:
    return str(row["context"])


def _choices(row: Mapping[str, Any]) -> list[str]:
    return list(row["choices"])


def _gold(row: Mapping[str, Any]) -> int:
    return int(row["gold"])
