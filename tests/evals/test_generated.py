"""How written answers are scored, and what of a suite is no item."""

import json
from pathlib import Path

import pytest

from llm_core.data.suites import read_suite, suite_texts
from llm_core.errors import PedigreeError
from llm_core.evals.few_shot import prompts
from llm_core.evals.generated import normalised, score_exact, score_rouge
from llm_core.experiment.suites import GenerativeSuite
from tests.evals.conftest import World


@pytest.mark.parametrize(
    ("text", "right"),
    [
        (" The Answer.", 1.0),
        ("answer", 1.0),
        ("an  answer!", 1.0),
        ("answers", 0.0),
        ("the answer is 7", 0.0),
        ("", 0.0),
        ("4,2", 1.0),
    ],
)
def test_case_punctuation_and_articles_do_not_count(text: str, right: float) -> None:
    assert score_exact({"answers": ["answer", "42"]}, [text]) == {"right": right}


def test_letters_of_an_article_within_a_word_stay() -> None:
    assert normalised("A theatre, an anthem; the end") == "theatre anthem end"


def test_rouge_counts_shared_words_and_pairs() -> None:
    """By hand: of 3 words written, 2 are among the 4 of the reference; one pair of 2 among its 3; stems count."""
    found = score_rouge({"answers": ["the dogs bark loudly"]}, ["dog barks now"])
    assert found == pytest.approx({"rouge_1": 2 * 2 / 7, "rouge_2": 2 * 1 / 5, "rouge_l": 2 * 2 / 7})
    several = score_rouge({"answers": ["nothing", "the dogs bark loudly"]}, ["dog barks now"])
    assert several == found
    assert set(score_rouge({"answers": ["words"]}, [""]).values()) == {0.0}


def suite(folder: Path, *records: dict) -> GenerativeSuite:
    path = folder / "asked.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return GenerativeSuite(name="asked", path=str(path), max_items=2, max_new_tokens=5)


def test_an_answer_is_a_text_or_a_list_of_texts(tmp_path: Path) -> None:
    made = suite(tmp_path, {"question": "Who?", "answer": "Ada"}, {"question": "When?", "answer": ["1843", "In 1843"]})
    one, two = read_suite(made)
    assert (one.choices, two.choices, two.context) == (("Ada",), ("1843", "In 1843"), "When?")
    assert [text for _, text in suite_texts(made, [two])] == ["When? 1843", "When?", "1843", "In 1843"]


@pytest.mark.parametrize("answer", [[], 7, [""], ["a", 1], None])
def test_what_is_no_answer_is_an_error_with_line_and_field(tmp_path: Path, answer: object) -> None:
    with pytest.raises(PedigreeError, match=r"asked\.jsonl: line 1: the field 'answer"):
        read_suite(suite(tmp_path, {"question": "Who?", "answer": answer}))


def test_solved_items_leave_room_for_the_answer(world: World, tmp_path: Path) -> None:
    records = [{"question": f"what is {number}?", "answer": "a file"} for number in range(4)]
    made = suite(tmp_path, *records)
    items = read_suite(made)[:1]
    whole = prompts(made, items, 1, world.tokenizer, 10_000).inputs[0]["context"]
    assert whole.count("Question: ") == 2
    assert "Answer: a file" in whole
    needed = len(world.tokenizer.encode(whole).ids) + 5
    assert prompts(made, items, 1, world.tokenizer, needed).shortened == 0
    assert prompts(made, items, 1, world.tokenizer, needed - 1).shortened == 1
