import json
from pathlib import Path

import pytest

from llm_core.errors import PedigreeError
from llm_core.evals.scoring import scored_by_model
from llm_core.evals.tasks import CHOICE_BITS
from llm_core.experiment.retrieval import RetrievalSpec
from llm_core.retrieval import evaluation
from llm_core.retrieval.evaluation import build, passages_help
from llm_core.retrieval.questions import make_questions
from llm_core.retrieval.results import RetrievalEval
from tests.data.stages import artifact
from tests.evals.conftest import SPEC
from tests.evals.conftest import World as Trained
from tests.evals.conftest import world as trained  # noqa: F401
from tests.retrieval.conftest import HELDOUT, World

RETRIEVAL = RetrievalSpec(passages=2, questions=3, query_words=6, choices=3)


def copying(_job, _spec, suites):
    """A model that has learned to copy: it is sure of a choice that stands in its prompt, and else knows nothing."""
    return {task: [answered(task, row) for row in rows] for task, rows in suites.items()}


def answered(task, row):
    bits = [1.0 if choice in row["context"] else 20.0 + number for number, choice in enumerate(row["choices"])]
    right = float(bits.index(min(bits)) == row["gold"])
    return {"task": task, "right": right, "right_per_byte": right, CHOICE_BITS: bits}


@pytest.fixture
def made(world: World, trained: Trained, tmp_path: Path, monkeypatch):  # noqa: F811
    def run(scored=copying, **changes):
        monkeypatch.setattr(evaluation, "scored_by_model", scored)
        job = trained.job(tmp_path / "work")
        job.inputs["index"] = artifact(world.searcher.folder)
        job.inputs["documents"] = artifact(world.folder / "documents")
        options = {"retrieval": RETRIEVAL, "model": SPEC, "sequence_length": 400, "precision": "fp32", "batch_size": 4}
        return build(job, **{**options, "seed": 3, **changes}), job

    return run


def test_passages_help_a_model_that_copies(made) -> None:
    results, _ = made()
    assert results.questions == 3
    assert results.scores["gold_passage"]["accuracy"]["value"] == 1.0
    assert results.scores["retrieved"]["accuracy"]["value"] == 1.0
    assert results.recall["1"]["value"] == results.recall["3"]["value"] == 1.0
    closed, gold = (results.scores[task]["bits_per_byte"]["value"] for task in ("closed_book", "gold_passage"))
    assert results.gains["gold_passage"]["bits_per_byte"]["value"] == pytest.approx(gold - closed)
    assert results.gains["gold_passage"]["bits_per_byte"]["value"] < 0
    assert results.overlap_accuracy == 1.0
    assert passages_help(results, None).passed


def test_a_model_that_passages_confuse_fails_the_check(made, monkeypatch) -> None:
    results, _ = made()
    worse = {**results.gains, "retrieved": {"bits_per_byte": {"value": 0.01, "interval": (-0.02, 0.04)}}}
    assert not passages_help(results.model_copy(update={"gains": worse}), None).passed
    assert isinstance(results, RetrievalEval)


def test_questions_that_do_not_fit_are_an_error_that_says_what_to_do(made) -> None:
    with pytest.raises(
        PedigreeError, match=r"passage_characters 600: \d+ of 3 questions do not fit into the 20 tokens"
    ):
        made(sequence_length=20)


def test_a_question_is_a_cut_sentence_and_its_wrong_choices_come_from_other_documents(world: World) -> None:
    numbered = [(number, world.searcher.passage(number)) for number in range(len(world.searcher.names()))]
    heldout = [(number, passage) for number, passage in numbered if passage.doc_id in HELDOUT]
    questions = make_questions(heldout, 3, 6, 3, seed=1)
    assert {question.doc_id for question in questions} == set(HELDOUT)  # one of each before a second of any
    for question in questions:
        passage = world.searcher.passage(question.gold_passage)
        assert len(question.query.split()) == 6
        assert question.query + question.choices[question.gold] in passage.text
        wrong = [choice for number, choice in enumerate(question.choices) if number != question.gold]
        assert len(set(question.choices)) == 3
        assert not any(choice in HELDOUT[question.doc_id] for choice in wrong)
    with pytest.raises(PedigreeError, match=r"retrieval\.choices: 4 choices need answers from 3 other documents"):
        make_questions(heldout, 3, 6, 4, seed=1)


def test_the_model_reads_the_prompts_in_a_process_of_its_own(made) -> None:
    results, job = made(scored=scored_by_model)
    assert results.questions == 3
    lines = [json.loads(line) for line in (job.out / "retrieval.jsonl").read_text().splitlines()]
    for line in lines:
        assert line["gold_passage"]["bits"] != line["closed_book"]["bits"]
        assert line["read"] == line["found"][: len(line["read"])]
