"""The stage ``eval_results``: scores of the model with standard errors, beside simple baselines."""

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tokenizers.normalizers import Normalizer

from llm_core.chat.model_chat import model_chat
from llm_core.data.suites import Item, sample_suite, suite_digests
from llm_core.errors import PedigreeError
from llm_core.evals.baselines import overlap_pick, token_counts, unigram_bits, xz_bits
from llm_core.evals.centred import centred
from llm_core.evals.choices import Question, make_questions
from llm_core.evals.documents import sample
from llm_core.evals.few_shot import prompts, solved_items
from llm_core.evals.instructions import check_rules
from llm_core.evals.results import EvalResults
from llm_core.evals.run import RunSpec
from llm_core.evals.scores import accuracy, bits_per_byte, interval, item_line, row, task_rows
from llm_core.evals.scoring import scored_by_model, write_lines
from llm_core.evals.suite_rows import described, in_chat, suite_lines, suite_stats
from llm_core.evals.tasks import CONTINUATION, HELDOUT
from llm_core.experiment.base import canonical
from llm_core.experiment.evaluation import ChecksSpec, EvaluationSpec
from llm_core.experiment.model import ModelSpec
from llm_core.experiment.suites import InstructionsSuite, MultipleChoiceSuite, SuiteSpec
from llm_core.graph.job import Job
from llm_core.graph.stage import Verdict
from llm_core.tokens.prompts import prompt_tokenizer
from llm_core.tokens.reader import ShardReader
from llm_core.tokens.tokenizer import came_back, load_tokenizer

# More long documents than questions, because some documents give none.
DOCUMENTS_PER_QUESTION = 4
TOKENIZER = ("tokenizer", "tokenizer.json")
OVERLAP = "baseline_overlap"

Suites = Sequence[tuple[SuiteSpec, Sequence[Item]]]


def source_digests(evaluation: EvaluationSpec, **_: Any) -> dict[str, str]:
    """Digests of the suites' files. Raises ``PedigreeError`` for a file without enough items for ``few_shot``, and for
    rules with wrong arguments."""
    digests = suite_digests(evaluation.suites)
    for suite in evaluation.suites:
        solved_items(suite, evaluation.few_shot.get(suite.name, 0))
        if isinstance(suite, InstructionsSuite):
            check_rules(suite)
    return digests


def build(
    job: Job, evaluation: EvaluationSpec, model: ModelSpec, sequence_length: int, precision: str, seed: int
) -> EvalResults:
    """Score held-out documents, questions and the suites; write ``evals.jsonl``.

    ``sequence_length``: tokens that the model reads at once, as in training. ``precision``: that of the training (see
    ``as_trained``). Also writes the questions (``questions.jsonl``), the score of every document, question and item
    (``scores.jsonl``) and lm-eval's own report.
    """
    heldout = job.path("documents", "heldout")
    documents = sample(heldout, evaluation.heldout_documents, seed, HELDOUT)
    questions = _questions(heldout, evaluation, seed)
    sampled = [(suite, sample_suite(suite)) for suite in evaluation.suites]
    tokenizer = prompt_tokenizer(job.path(*TOKENIZER))
    suites = _readable(sampled, tokenizer.normalizer)
    chat = model_chat(job.path("model"), job.path(*TOKENIZER)) if any(in_chat(suite) for suite, _ in suites) else None
    prompted = {
        suite.name: prompts(suite, items, evaluation.few_shot.get(suite.name, 0), tokenizer, sequence_length, chat)
        for suite, items in suites
    }
    reader = ShardReader(job.path("shards"), "train")

    spec = RunSpec(
        model=str(job.path("model")),
        architecture=canonical(model, absent=True),
        tokenizer=str(job.path(*TOKENIZER)),
        documents=str(job.work / "documents.jsonl"),
        questions=str(job.work / "questions.jsonl"),
        eot=reader.eot,
        sequence_length=sequence_length,
        batch_size=evaluation.batch_size,
        scores=str(job.work / "scores.jsonl"),
        report=str(job.out / "lm_eval.json"),
        progress=str(job.work / "progress.json"),
        precision=precision,
        attention_backend=job.runtime.compute.attention_backend,
        device_type=job.runtime.compute.device_type,
        suites=[described(suite, str(job.work / f"suite_{suite.name}.jsonl")) for suite, _ in suites],
        code=job.claim.model_dump(mode="json"),
    )
    write_lines(job.work / "documents.jsonl", map(asdict, documents))
    write_lines(job.work / "questions.jsonl", map(asdict, questions))
    scores = scored_by_model(job, spec, {name: found.inputs for name, found in prompted.items()})
    texts, names = [document.text for document in documents], [document.doc_id for document in documents]
    ids, restored = _encode(job.path(*TOKENIZER), texts)
    sizes = [len(text.encode("utf-8")) for text in texts]
    lines = {
        HELDOUT: [
            item_line(score, name, name, 1, 0, size)
            for score, name, size in zip(scores[HELDOUT], names, sizes, strict=True)
        ],
        CONTINUATION: [
            item_line(
                score,
                question.question_id,
                question.doc_id,
                len(question.choices),
                question.gold,
                len(question.choices[question.gold].encode("utf-8")),
            )
            for score, question in zip(scores[CONTINUATION], questions, strict=True)
        ],
        **{suite.name: suite_lines(suite, items, scores[suite.name]) for suite, items in suites},
    }
    suite_of = {suite.name: suite for suite, _ in suites if isinstance(suite, MultipleChoiceSuite)}
    chances = {name: suite.chance for name, suite in suite_of.items()}
    by_task = {task: task_rows(items, chances.get(task)) for task, items in lines.items()}
    chance = by_task[CONTINUATION][0]["chance"]
    frequency = bits_per_byte(unigram_bits(token_counts(reader), ids), sizes, names)
    xz = bits_per_byte([xz_bits(texts)], [sum(sizes)], ["all"])
    picks = [overlap_pick(question.context, question.choices) == question.gold for question in questions]
    overlap = accuracy(picks, [question.doc_id for question in questions])
    rows = [
        *by_task[HELDOUT],
        row("baseline_unigram", "bits_per_byte", frequency, len(documents)),
        row("baseline_xz", "bits_per_byte", xz, len(documents)),
        *by_task[CONTINUATION],
        row(OVERLAP, "accuracy", overlap, len(questions), chance),
        *(scored for suite, _ in suites for scored in by_task[suite.name]),
    ]
    write_lines(job.out / "evals.jsonl", rows)
    write_lines(job.out / "questions.jsonl", map(asdict, questions))
    write_lines(job.out / "scores.jsonl", (line for items in lines.values() for line in items))

    found = {(scored["task"], scored["metric"]): scored for scored in rows}
    ours, unigram = found[HELDOUT, "bits_per_byte"], found["baseline_unigram", "bits_per_byte"]
    answers, likelihood = found[CONTINUATION, "accuracy"], found[CONTINUATION, "accuracy_likelihood"]
    return EvalResults(
        bits_per_byte=ours["value"],
        bits_per_byte_stderr=ours["stderr"],
        bits_per_byte_interval=interval(ours),
        unigram_bits_per_byte=unigram["value"],
        unigram_bits_per_byte_interval=interval(unigram),
        xz_bits_per_byte=found["baseline_xz", "bits_per_byte"]["value"],
        accuracy=answers["value"],
        accuracy_stderr=answers["stderr"],
        accuracy_interval=interval(answers),
        accuracy_likelihood=likelihood["value"],
        accuracy_likelihood_interval=interval(likelihood),
        overlap_accuracy=found[OVERLAP, "accuracy"]["value"],
        overlap_accuracy_stderr=found[OVERLAP, "accuracy"]["stderr"],
        overlap_accuracy_interval=interval(found[OVERLAP, "accuracy"]),
        chance=chance,
        documents=len(documents),
        documents_asked=evaluation.heldout_documents,
        documents_restored=restored,
        questions=len(questions),
        questions_asked=evaluation.choice_questions,
        heldout_bytes=sum(sizes),
        heldout_tokens=sum(map(len, ids)),
        suites={
            suite.name: {
                **suite_stats(suite, lines[suite.name], by_task[suite.name]),
                **prompted[suite.name].stats(),
                "items_unreadable": len(asked_for) - len(items),
            }
            for (suite, items), (_, asked_for) in zip(suites, sampled, strict=True)
        },
        centred=centred(
            [scored for suite, _ in suites for scored in by_task[suite.name]],
            {name: suite.criterion for name, suite in suite_of.items()},
        ),
    )


def below_unigram(results: EvalResults, bounds: ChecksSpec) -> Verdict:
    """The model predicts text better than token frequencies do."""
    del bounds
    bits, unigram = results.bits_per_byte, results.unigram_bits_per_byte
    message = f"{bits:.3f} bits per byte; token frequencies alone reach {unigram:.3f}"
    return Verdict(bits < unigram, message, value=bits, bound=unigram)


def above_chance(results: EvalResults, bounds: ChecksSpec) -> Verdict:
    """The model answers more questions correctly than chance does."""
    accuracy, chance, error = results.accuracy, results.chance, results.accuracy_stderr
    if error is None:  # questions of a single document: the standard error of guessing
        error = math.sqrt(chance * (1 - chance) / results.questions)
    least = chance + max(bounds.chance_margin, 2 * error)
    return Verdict(
        accuracy > least,
        f"{accuracy:.1%} ± {error:.1%} of the questions answered rightly; chance is {chance:.1%}, "
        f"and shared letters reach {results.overlap_accuracy:.1%}",
        value=accuracy,
        bound=least,
    )


def text_restored(results: EvalResults, bounds: ChecksSpec) -> Verdict:
    """The tokenizer restores every scored document exactly."""
    del bounds
    restored, documents = results.documents_restored, results.documents
    message = f"the tokenizer gives back {restored} of {documents} scored documents as they were"
    return Verdict(restored == documents, message, value=restored, bound=documents)


def suites_readable(results: EvalResults, bounds: ChecksSpec) -> Verdict:
    """No choice of the suites becomes empty in the form of the documents."""
    del bounds
    counts = {name: suite.get("items_unreadable", 0) for name, suite in results.suites.items()}
    unreadable = {name: count for name, count in counts.items() if count}
    return Verdict(
        not unreadable,
        f"items left out, since the form of the documents leaves nothing of a choice: {unreadable}"
        if unreadable
        else "the form of the documents leaves something of every choice",
        value=sum(unreadable.values()),
        bound=0,
    )


def enough_items(results: EvalResults, bounds: ChecksSpec) -> Verdict:
    """There were as many documents and questions as requested."""
    del bounds
    asked, found = (results.documents_asked, results.questions_asked), (results.documents, results.questions)
    message = f"{found[0]} of the {asked[0]} documents and {found[1]} of the {asked[1]} questions wanted"
    return Verdict(found == asked, message)


def _encode(tokenizer_file: Path, texts: Sequence[str]) -> tuple[list[list[int]], int]:
    """Token ids of every text, and the number of texts that the tokenizer restores exactly."""
    tokenizer = load_tokenizer(tokenizer_file)
    ids = [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]
    decoded = (tokenizer.decode(tokens, skip_special_tokens=False) for tokens in ids)
    return ids, sum(came_back(tokenizer, back, text) for back, text in zip(decoded, texts, strict=True))


def _readable(suites: Suites, form: Normalizer | None) -> list[tuple[SuiteSpec, list[Item]]]:
    """The items whose choices are not empty in this ``form``: a model that reads only letters can't distinguish 17
    from 42.

    Raises ``PedigreeError`` for a suite without such items.
    """
    if form is None:
        return [(suite, list(items)) for suite, items in suites]
    found = []
    for suite, items in suites:
        left = [item for item in items if all(form.normalize_str(choice).strip() for choice in item.choices)]
        if not left:
            raise PedigreeError(
                f"{suite.path}: the form of the documents (cleaning.keep) leaves nothing of a choice in any item of "
                f"{suite.name!r}; take it out of evaluation.suites"
            )
        found.append((suite, left))
    return found


def _questions(heldout: Path, evaluation: EvaluationSpec, seed: int) -> list[Question]:
    most = DOCUMENTS_PER_QUESTION * evaluation.choice_questions
    pool = sample(heldout, most, seed, CONTINUATION, evaluation.question_characters)
    questions = make_questions(
        pool,
        evaluation.choice_questions,
        evaluation.choices,
        evaluation.context_characters,
        evaluation.continuation_characters,
        seed,
    )
    if not questions:
        raise PedigreeError(f"{heldout}: no held-out document can be cut between two words to make a question")
    return questions
