import json
from collections import Counter
from dataclasses import asdict

import pytest

from llm_core.errors import PedigreeError
from llm_core.evals.baselines import overlap, trigrams
from llm_core.evals.choices import make_questions
from llm_core.evals.documents import Document
from tests.evals.conftest import text

DOCUMENTS = [Document(f"d{i:03d}", text(i, 90)) for i in range(60)]
TEXTS = {document.doc_id: document.text for document in DOCUMENTS}


def make(documents=DOCUMENTS, count=60, choices=4):
    return make_questions(documents, count, choices, context_characters=120, continuation_characters=50, seed=7)


def test_gold_is_what_follows_in_the_document() -> None:
    questions = make()
    assert len(questions) == 60
    for question in questions:
        whole = TEXTS[question.doc_id]
        gold = question.choices[question.gold]
        assert question.context + gold in whole
        assert gold.startswith(" ")
        assert not question.context[-1].isspace()
        assert 60 <= len(question.context) <= 120
        assert {len(choice) for choice in question.choices} == {50}


def test_wrong_choices_come_from_elsewhere() -> None:
    for question in make():
        assert len(set(question.choices)) == 4
        gold = question.choices[question.gold]
        wrong = [choice for choice in question.choices if choice != gold]
        assert all(any(choice in whole for name, whole in TEXTS.items() if name != question.doc_id) for choice in wrong)


def test_length_in_characters_tells_nothing() -> None:
    mixed = [Document(f"m{i:03d}", text(i, 90 + 7 * i)) for i in range(40)]
    for question in make(documents=mixed, count=90):
        assert {len(choice) for choice in question.choices} == {50}, "longest and shortest are guesses"


def test_wrong_choices_share_more_with_the_context_than_others_would() -> None:
    def shared(question, choice: str) -> float:
        return overlap(trigrams(question.context), trigrams(choice))

    questions = make()
    for place, question in enumerate(questions):
        wrong = [shared(question, choice) for n, choice in enumerate(question.choices) if n != question.gold]
        others = [other for other in questions if other is not question]
        usual = [shared(question, other.choices[other.gold]) for other in others]
        assert sorted(wrong) == sorted(usual)[-3:], place


def test_gold_positions_are_spread() -> None:
    places = Counter(question.gold for question in make())
    assert set(places) == {0, 1, 2, 3}
    assert max(places.values()) <= 28


def test_the_same_seed_gives_the_same_file_and_another_seed_another() -> None:
    def lines(seed: int) -> str:
        return json.dumps([asdict(q) for q in make_questions(DOCUMENTS, 30, 4, 120, 50, seed)])

    assert lines(1) == lines(1)
    assert lines(1) != lines(2)


def test_a_document_gives_a_second_question_only_when_all_gave_one() -> None:
    questions = make(count=90)
    assert len(questions) == 90
    assert len({question.doc_id for question in questions[:60]}) == 60
    assert len({question.question_id for question in questions}) == 90


def test_too_few_documents_are_refused() -> None:
    with pytest.raises(PedigreeError, match=r"evaluation\.choices: 4 choices need continuations from 3 other"):
        make(documents=DOCUMENTS[:2])


def test_text_without_a_place_to_cut_gives_no_question() -> None:
    assert make(documents=[Document("long", "x" * 5000), Document("lines", "ab\n" * 900)]) == []
