"""The stage ``test_time_compute``: the accuracy of the answer that is chosen from k, over k and over tokens."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from llm_core.data.suites import suite_digests
from llm_core.errors import PedigreeError
from llm_core.evals.samples import one_thread, prompt_ids
from llm_core.evals.scoring import write_lines
from llm_core.experiment.suites import SuiteSpec
from llm_core.experiment.test_time import RepeatedSamplingSpec
from llm_core.graph.job import Job
from llm_core.graph.stage import Verdict
from llm_core.intervals import clustered_mean, clustered_share
from llm_core.model.files import load_model
from llm_core.registries import JUDGES
from llm_core.retrieval.index import Searcher
from llm_core.test_time.answers import Answer, Answerer
from llm_core.test_time.curves import Curve, any_right, best_of, majority
from llm_core.test_time.questions import Question, next_words, of_suite
from llm_core.test_time.results import ANY, MAJORITY, PLAIN, RepeatedSampling
from llm_core.test_time.ways import Ways
from llm_core.tokens.prompts import prompt_tokenizer
from llm_core.tokens.tokenizer import end_of_text

ANSWERS = "answers.jsonl"
LEAST_ANSWERED = 0.5

Judge = Callable[[str, str, Sequence[float]], float]


@dataclass(frozen=True)
class _Asked:
    """A question in one way, its answers (the greedy one first), what they say, and the curves of the samples."""

    question: Question
    prompt_tokens: int
    answers: list[Answer]
    given: list[str | None]
    curves: dict[str, Curve]

    @property
    def greedy(self) -> bool:
        return self.given[0] == self.question.answer


def source_digests(suites: Sequence[SuiteSpec], **_: Any) -> dict[str, str]:
    """Digests of the suites' files."""
    return suite_digests(suites)


def build(
    job: Job,
    spec: RepeatedSamplingSpec,
    suites: Sequence[SuiteSpec],
    few_shot: Mapping[str, int],
    sequence_length: int,
    passages: int,
    seed: int,
) -> RepeatedSampling:
    """Answer all questions in every way; write the answers (``answers.jsonl``).

    ``few_shot``: suite → solved items before each question. ``passages``: how many the model reads, where there is an
    index. Runs on the CPU, in fp32 and one thread, so that the texts are the same in every run. Raises
    ``PedigreeError`` where no question fits into the model's context.
    """
    network, _ = load_model(job.path("model"))
    path = job.path("tokenizer", "tokenizer.json")
    tokenizer = prompt_tokenizer(path)
    eot = end_of_text(tokenizer, path)
    ways = Ways(spec, Searcher(job.path("index")) if "index" in job.inputs else None, passages)
    room = sequence_length - ways.longest()

    def fits(prompt: str) -> bool:
        return len(prompt_ids(tokenizer, prompt, eot)) <= room

    questions = next_words(job.path("documents", "heldout"), spec, seed) if spec.heldout_words else []
    for suite in suites:
        questions += of_suite(suite, few_shot.get(suite.name, 0), tokenizer, room)
    prompts = {question: ways.prompts(question, fits) for question in questions if question.answer}
    kept = {question: own for question, own in prompts.items() if own}
    if not kept:
        raise PedigreeError(
            f"test_time_compute: no question fits into the {sequence_length} tokens of the model with "
            f"{ways.longest()} new ones: lower context_characters or max_new_tokens"
        )
    answerer = Answerer(network, tokenizer, eot, spec.samples, spec.temperature, spec.top_p, seed)
    judges = {name: JUDGES.load(name) for name in spec.judges}
    asked: dict[tuple[str, str], list[_Asked]] = {}
    with one_thread():
        for number, (question, own) in enumerate(kept.items()):
            for way, prompt in own.items():
                found = _asked(answerer, ways, way, question, prompt_ids(tokenizer, prompt, eot), judges)
                asked.setdefault((question.task, way), []).append(found)
            job.runtime.progress(number + 1, len(kept), "questions")
    write_lines(job.out / ANSWERS, (_line(way, found) for (_, way), each in asked.items() for found in each))
    every = [answer for each in asked.values() for found in each for answer in found.given[1:]]
    numbers = {task: len(each) for (task, way), each in asked.items() if way == PLAIN}
    return RepeatedSampling(
        samples=spec.samples,
        temperature=spec.temperature,
        questions=numbers,
        left_out={task: sum(one.task == task for one in questions) - number for task, number in numbers.items()},
        with_answer=sum(answer is not None for answer in every) / len(every),
        ways=[_told(task, way, each, asked[task, PLAIN]) for (task, way), each in asked.items()],
    )


def _asked(
    answerer: Answerer, ways: Ways, way: str, question: Question, prompt: list[int], judges: Mapping[str, Judge]
) -> _Asked:
    name = f"{way} {question.task} {question.question_id}"
    answers = answerer.answers(name, prompt, ways.new_tokens(way), lambda text: ways.ended(way, question, text))
    given = [ways.given(way, question, answer.text) for answer in answers]
    drawn, right = answers[1:], [answer == question.answer for answer in given[1:]]
    curves = {
        MAJORITY: majority(given[1:], question.answer),
        **{
            judge: best_of([score(question.context, one.text, one.nats) for one in drawn], right)
            for judge, score in judges.items()
        },
        ANY: any_right(sum(right), len(right)),
    }
    return _Asked(question, len(prompt), answers, given, curves)


def _line(way: str, asked: _Asked) -> dict[str, Any]:
    answers = [
        {"text": answer.text, "given": given, "tokens": len(answer.ids), "nats": sum(answer.nats)}
        for answer, given in zip(asked.answers, asked.given, strict=True)
    ]
    return {"way": way, **asked.question._asdict(), "prompt_tokens": asked.prompt_tokens, "answers": answers}


def _told(task: str, way: str, asked: Sequence[_Asked], plain: Sequence[_Asked]) -> dict[str, Any]:
    clusters = [found.question.cluster for found in asked]
    greedy = [float(found.greedy) for found in asked]
    samples = len(asked[0].answers) - 1
    shown = sorted({k for power in range(7) if (k := 2**power) <= samples} | {samples})
    return {
        "task": task,
        "way": way,
        "prompt_tokens": _mean(found.prompt_tokens for found in asked),
        "greedy_tokens": _mean(len(found.answers[0].ids) for found in asked),
        "sample_tokens": _mean(len(answer.ids) for found in asked for answer in found.answers[1:]),
        "greedy": _accuracy(greedy, [float(found.greedy) for found in plain], clusters),
        "curves": {
            method: [
                {"k": k, **_accuracy([found.curves[method][k - 1] for found in asked], greedy, clusters)} for k in shown
            ]
            for method in asked[0].curves
        },
    }


def _accuracy(values: Sequence[float], base: Sequence[float], clusters: Sequence[str]) -> dict[str, Any]:
    """The mean of ``values`` (0 to 1) with its interval, and its ``gain`` over ``base``, question by question."""
    share = clustered_share(values, clusters)
    gain = clustered_mean(np.subtract(values, base), clusters)
    return {
        "accuracy": share.mean,
        "interval": (share.low, share.high) if share.stderr < float("inf") else None,
        "gain": gain.mean,
        # Equal differences have no spread, which says nothing about other questions.
        "gain_interval": (gain.low, gain.high) if 0 < gain.stderr < float("inf") else None,
    }


def _mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))


def most_answered(results: RepeatedSampling, bounds: None) -> Verdict:
    """There is an answer in most of the texts."""
    del bounds
    share = results.with_answer
    return Verdict(share >= LEAST_ANSWERED, f"{share:.1%} of the samples have an answer", share, LEAST_ANSWERED)
