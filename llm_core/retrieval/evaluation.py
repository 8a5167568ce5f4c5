"""The stage ``retrieval_eval``: questions from held-out documents, answered without passages, with the right one, and
with those that the index finds."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import polars as pl
from tokenizers import Tokenizer

from llm_core.errors import PedigreeError
from llm_core.evals.baselines import overlap_pick
from llm_core.evals.run import RunSpec
from llm_core.evals.scores import Line, accuracy, bits_per_byte, item_line
from llm_core.evals.scoring import scored_by_model, write_lines
from llm_core.experiment.base import canonical
from llm_core.experiment.model import ModelSpec
from llm_core.experiment.retrieval import RetrievalSpec
from llm_core.graph.job import Job
from llm_core.graph.stage import Verdict
from llm_core.intervals import Estimate, clustered_mean
from llm_core.retrieval.index import Searcher
from llm_core.retrieval.passages import Passage
from llm_core.retrieval.prompts import SEPARATOR, with_passages
from llm_core.retrieval.questions import Question, make_questions
from llm_core.retrieval.results import RetrievalEval
from llm_core.tokens.prompts import prompt_tokenizer
from llm_core.tokens.reader import ShardReader

CLOSED, GOLD, RETRIEVED = "closed_book", "gold_passage", "retrieved"
RANKS = (1, 3, 10)
QUESTIONS = "retrieval.jsonl"


@dataclass(frozen=True)
class _Asked:
    question: Question
    found: list[Passage]
    read: list[Passage]
    prompts: dict[str, str]


def build(
    job: Job,
    retrieval: RetrievalSpec,
    model: ModelSpec,
    sequence_length: int,
    precision: str,
    batch_size: int,
    seed: int,
) -> RetrievalEval:
    """Write the questions with the passages and the scores of each (``retrieval.jsonl``).

    Raises ``PedigreeError`` where no document has a long enough sentence, and where most questions do not fit into the
    model's context with their passage.
    """
    searcher = Searcher(job.path("index"))
    questions = _questions(job, searcher, retrieval, seed)
    tokenizer = prompt_tokenizer(job.path("tokenizer", "tokenizer.json"))
    asked = [_asked(question, searcher, retrieval, tokenizer, sequence_length) for question in questions]
    kept = [found for found in asked if found is not None]
    if 2 * len(kept) < len(asked) or not kept:
        raise PedigreeError(
            f"retrieval.passage_characters {retrieval.passage_characters}: {len(asked) - len(kept)} of {len(asked)} "
            f"questions do not fit into the {sequence_length} tokens of the model with their passage: take shorter ones"
        )
    lines = _scored(job, kept, model, sequence_length, precision, batch_size)
    documents = [found.question.doc_id for found in kept]
    write_lines(
        job.out / QUESTIONS,
        (
            {
                **asdict(found.question),
                "found": [passage.name for passage in found.found],
                "read": [passage.name for passage in found.read],
                **{task: {"correct": own["correct_per_byte"], "bits": own["bits"]} for task, own in each.items()},
            }
            for found, each in zip(kept, _by_question(lines), strict=True)
        ),
    )
    picks = [
        overlap_pick(" ".join(passage.text for passage in found.read), found.question.choices) == found.question.gold
        for found in kept
    ]
    overlap = accuracy(picks, documents)
    return RetrievalEval(
        questions=len(kept),
        questions_asked=retrieval.questions,
        too_long=len(asked) - len(kept),
        recall={str(k): _told(accuracy(_hits(kept, k), documents)) for k in RANKS},
        scores={task: _scores(own, documents) for task, own in lines.items()},
        gains={task: _gains(lines[task], lines[CLOSED], documents) for task in (GOLD, RETRIEVED)},
        passages_read=sum(len(found.read) for found in kept) / len(kept),
        overlap_accuracy=overlap.mean,
        overlap_accuracy_interval=_bounds(overlap),
        chance=1 / retrieval.choices,
    )


def _questions(job: Job, searcher: Searcher, retrieval: RetrievalSpec, seed: int) -> list[Question]:
    """From held-out documents; with documents of its own, from any of them."""
    names = searcher.names()
    if "documents" in job.inputs:
        heldout = pl.scan_parquet(sorted(job.path("documents", "heldout").glob("*.parquet")), glob=False)
        wanted = set(heldout.select("doc_id").collect()["doc_id"].to_list())
    else:
        wanted = set(names)
    passages = [(number, searcher.passage(number)) for number, name in enumerate(names) if name in wanted]
    return make_questions(passages, retrieval.questions, retrieval.query_words, retrieval.choices, seed)


def _asked(
    question: Question, searcher: Searcher, retrieval: RetrievalSpec, tokenizer: Tokenizer, length: int
) -> _Asked | None:
    def fits(prompt: str) -> bool:
        texts = [prompt + choice for choice in question.choices]
        longest = max(len(encoding.ids) for encoding in tokenizer.encode_batch(texts, add_special_tokens=False))
        return longest <= length + 1  # the last token is only predicted

    gold = SEPARATOR.join([searcher.passage(question.gold_passage).text, question.query])
    if not fits(gold):
        return None
    found = [passage for passage, _ in searcher.search(question.query, max(*RANKS, retrieval.passages))]
    prompted = with_passages(found[: retrieval.passages], question.query, fits)
    assert prompted is not None  # the gold passage fits, so the question does
    prompt, read = prompted
    return _Asked(question, found, read, {CLOSED: question.query, GOLD: gold, RETRIEVED: prompt})


def _scored(
    job: Job, asked: Sequence[_Asked], model: ModelSpec, length: int, precision: str, batch_size: int
) -> dict[str, list[Line]]:
    tasks = (CLOSED, GOLD, RETRIEVED)
    spec = RunSpec(
        stage=job.stage,
        model=str(job.path("model")),
        architecture=canonical(model, absent=True),
        tokenizer=str(job.path("tokenizer", "tokenizer.json")),
        documents=None,
        questions=None,
        eot=ShardReader(job.path("shards"), "train").eot,
        sequence_length=length,
        batch_size=batch_size,
        scores=str(job.work / "scores.jsonl"),
        report=str(job.work / "lm_eval.json"),
        progress=str(job.work / "progress.json"),
        precision=precision,
        attention_backend=job.runtime.compute.attention_backend,
        device_type=job.runtime.compute.device_type,
        suites=[{"name": task, "kind": "multiple_choice", "rows": str(job.work / f"{task}.jsonl")} for task in tasks],
        code=job.claim.model_dump(mode="json"),
    )
    scores = scored_by_model(job, spec, {task: [_row(found, task) for found in asked] for task in tasks})
    return {
        task: [
            item_line(
                score,
                found.question.question_id,
                found.question.doc_id,
                len(found.question.choices),
                found.question.gold,
                len(found.question.choices[found.question.gold].encode("utf-8")),
            )
            for score, found in zip(scores[task], asked, strict=True)
        ]
        for task in tasks
    }


def _row(asked: _Asked, task: str) -> Mapping[str, Any]:
    question = asked.question
    return {"context": asked.prompts[task], "choices": question.choices, "gold": question.gold, "delimiter": ""}


def _by_question(lines: Mapping[str, list[Line]]) -> list[dict[str, Line]]:
    return [dict(zip(lines, each, strict=True)) for each in zip(*lines.values(), strict=True)]


def _hits(asked: Sequence[_Asked], k: int) -> list[bool]:
    return [found.question.question_id in [passage.name for passage in found.found[:k]] for found in asked]


def _scores(lines: Sequence[Line], documents: Sequence[str]) -> dict[str, Any]:
    right = accuracy([line["correct_per_byte"] for line in lines], documents)
    bits = bits_per_byte([line["bits"] for line in lines], [line["bytes"] for line in lines], documents)
    return {"accuracy": _told(right), "bits_per_byte": _told(bits)}


def _gains(ours: Sequence[Line], closed: Sequence[Line], documents: Sequence[str]) -> dict[str, Any]:
    pairs = list(zip(ours, closed, strict=True))
    right = clustered_mean([a["correct_per_byte"] - b["correct_per_byte"] for a, b in pairs], documents)
    bits = bits_per_byte([a["bits"] - b["bits"] for a, b in pairs], [a["bytes"] for a, _ in pairs], documents)
    return {"accuracy": _told(right), "bits_per_byte": _told(bits)}


def _told(estimate: Estimate) -> dict[str, Any]:
    return {"value": estimate.mean, "interval": _bounds(estimate)}


def _bounds(estimate: Estimate) -> tuple[float, float] | None:
    return (estimate.low, estimate.high) if estimate.stderr < float("inf") else None


def enough_questions(results: RetrievalEval, bounds: None) -> Verdict:
    """There are as many questions as wanted."""
    del bounds
    message = f"{results.questions} of the {results.questions_asked} questions wanted"
    if results.too_long:
        message += f"; {results.too_long} do not fit into the model's context"
    return Verdict(results.questions == results.questions_asked, message)


def passages_help(results: RetrievalEval, bounds: None) -> Verdict:
    """With the passages that the index finds, the model predicts the answers better than without."""
    del bounds
    gain = results.gains[RETRIEVED]["bits_per_byte"]
    value, interval = gain["value"], gain["interval"]
    told = f" ({interval[0]:+.3f} to {interval[1]:+.3f})" if interval else ""
    return Verdict(
        bool(interval and interval[1] < 0), f"{value:+.3f} bits per byte of the answers{told}", value=value, bound=0.0
    )
