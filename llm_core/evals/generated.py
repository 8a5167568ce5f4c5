"""Answers that the model writes: the lm-eval task that asks for them, and how they are scored.

- Exact match: the answer equals one of those of the item, after normalising as for SQuAD (Rajpurkar et al., 2016).
- Rules, of a suite of instructions: ``llm_core.evals.instructions``.
- ROUGE (Lin, 2004), by the library ``rouge_score``: the F-measure of shared words (1), of shared pairs of words (2) and
  of the longest common subsequence (L), with stemming; of several references, the one with the best ROUGE-L.
"""

import json
import re
import string
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from llm_core.data.suites import Rule
from llm_core.evals.instructions import kept
from llm_core.evals.tasks import local_task

SUFFIX = "__generated"
"""After the suite's name, in the name of its second lm-eval task."""
TEXT = "generated"
"""The model's answer, in the record of an item."""
EXACT = "right"
ROUGE = ("rouge_1", "rouge_2", "rouge_l")
STRICT, LOOSE = "kept_strictly", "kept_loosely"
"""For each rule of an item, whether its answer keeps it."""

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def generation_task(name: str, rows: Path, score: str, stop: Sequence[str], max_new_tokens: int) -> dict[str, Any]:
    """Greedy answers to the contexts of ``rows``, up to the first of the strings ``stop``."""
    metrics, scored = _SCORED[score]
    aggregation = _share if score == "rules" else sum
    return {
        **local_task(f"{name}{SUFFIX}", rows),
        "output_type": "generate_until",
        "doc_to_text": _context,
        "doc_to_target": _nothing,
        "generation_kwargs": {"until": list(stop), "max_gen_toks": max_new_tokens},
        "process_results": scored,
        "metric_list": [{"metric": metric, "aggregation": aggregation, "higher_is_better": True} for metric in metrics],
    }


def score_exact(row: Mapping[str, Any], results: Sequence[str]) -> dict[str, float]:
    """1 if the answer is one of ``row["answers"]``."""
    (text,) = results
    return {EXACT: float(normalised(text) in map(normalised, row["answers"]))}


def score_rouge(row: Mapping[str, Any], results: Sequence[str]) -> dict[str, float]:
    """The three F-measures."""
    from rouge_score.rouge_scorer import RougeScorer

    (text,) = results
    scorer = RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=True)
    best = max((scorer.score(answer, text) for answer in row["answers"]), key=lambda found: found["rougeL"].fmeasure)
    return dict(zip(ROUGE, (float(measure.fmeasure) for measure in best.values()), strict=True))


def score_rules(row: Mapping[str, Any], results: Sequence[str]) -> dict[str, list[bool]]:
    """Which rules the answer keeps."""
    (text,) = results
    strict, loose = kept(text, [Rule(*rule) for rule in json.loads(row["rules"])])
    return {STRICT: strict, LOOSE: loose}


def normalised(text: str) -> str:
    """Lower case, without punctuation and English articles, words with one space between."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


_SCORED: dict[str, tuple[tuple[str, ...], Callable[..., Mapping[str, Any]]]] = {
    "exact_match": ((EXACT,), score_exact),
    "rouge": (ROUGE, score_rouge),
    "rules": ((STRICT, LOOSE), score_rules),
}


def _share(items: Sequence[Sequence[bool]]) -> float:
    """Of all rules, those that are kept."""
    every = [found for item in items for found in item]
    return sum(every) / len(every)


def _context(row: Mapping[str, Any]) -> str:
    return str(row["context"])


def _nothing(_: Mapping[str, Any]) -> str:
    return ""
