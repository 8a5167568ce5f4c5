import math
import time

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_core.data.rules import judge
from llm_core.data.rules.judge import document_values, document_verdicts, judged_lines, line_values, without_lines
from llm_core.errors import PedigreeError
from llm_core.experiment.cleaning import RuleSpec
from llm_core.registries import LINE_RULES, RULES
from tests.registered import built_in

# Words are runs without white space here: one, two -- three four, of which -- is not plain.
CASES = [
    ("min_words", "one, two -- three\n four", 4),
    ("max_words", "", 0),
    ("mean_word_length", "ab, -- abcd", 3.5),
    ("mean_word_length", "", 0),
    ("sentences", "One. Two? No e.g. here.\nthree", 4),
    ("sentences", 'He said "stop." Then 3.14 and a.b', 2),
    ("alphabetic_words", "ab 12 x1 ==", 0.5),
    ("alphabetic_words", "слово 文 --", 2 / 3),
    ("symbols_per_word", "a # ## b", 3 / 4),
    ("symbols_per_word", "a... b… c d......", 4 / 4),
    ("newlines_per_word", "a\nb\n\nc", 2 / 3),
    ("newlines_per_word", "\n\n", 0),
    ("curly_brackets", "{a {b}}", 2),
    ("bullet_lines", "- a\n\n  * b\n•c\n-dash\n*d*\ne", 4 / 7),
    ("ellipsis_lines", "a...\nb… \nc", 2 / 3),
    ("ellipsis_lines", "a... b", 0),
    ("punctuated_lines", 'Done.\n"So?"\nyes。\n\n', 2 / 3),
    ("short_lines", "x" * 30 + "\n" + "x" * 31, 0.5),
    ("short_lines", "\n", 0),
    ("duplicate_lines", "a\n  a\n\nb\na", 2 / 4),
    ("duplicate_line_characters", "abc\nabc\nd", 3 / 7),
    ("duplicate_paragraphs", "a\nb\n\na\n\na\nb", 1 / 3),
    ("duplicate_paragraph_characters", "a\nb\n\na\n\na\nb", 3 / 7),
    ("top_2_gram", "a b a b", 6 / 7),
    ("top_3_gram", "a b", 0),
    ("top_3_gram", "a b c d", 5 / 7),
    ("top_4_gram", "x y a b c d y a b c d", 14 / 21),
    ("duplicate_5_grams", "a b c d e " * 2, 5 / 20),
    ("duplicate_6_grams", "a b c d e " * 2, 0),
    ("duplicate_7_grams", "a b c d e f g " * 3, 14 / 42),
    ("duplicate_8_grams", "a " * 24, 16 / 48),
    ("duplicate_9_grams", "", 0),
    ("duplicate_10_grams", "a " * 11, 10 / 22),
    ("stop_words", "the cat, to be. THE other bathe", 2),
    ("stop_words", "", 0),
    ("lorem_ipsum", "Lorem ipsum, LOREM IPSUM, lorem  ipsum", 2),
]

LINE_CASES = [
    ("line_words", "one, two -- three", 4),
    ("line_longest_word", "a bcd\u00e9f,", 6),
    ("line_sentence_end", 'He said "yes"', 1),
    ("line_sentence_end", "and so on...", 0),
    ("line_sentence_end", "No end", 0),
    ("line_javascript", "Enable JavaScript.", 1),
    ("line_policy", "Our Privacy Policy.", 1),
    ("line_policy", "A policy on privacy.", 0),
]


@pytest.mark.parametrize(("name", "text", "expected"), CASES)
def test_values(name, text, expected):
    assert document_values(pl.DataFrame({"text": [text]}), [name]).item() == pytest.approx(expected)


@pytest.mark.parametrize(("name", "text", "expected"), LINE_CASES)
def test_values_of_lines(name, text, expected):
    assert line_values(pl.DataFrame({"text": [text]}), [name]).item() == pytest.approx(expected)


def test_every_rule_has_a_case():
    assert {name for name, _, _ in CASES} == set(built_in(RULES))
    assert {name for name, _, _ in LINE_CASES} == set(built_in(LINE_RULES))


@settings(max_examples=70, deadline=None)
@given(text=st.text(st.one_of(st.sampled_from(" \n#.-*•…a"), st.characters(exclude_categories=["Cs"])), max_size=60))
def test_a_value_is_always_a_number(text):
    frame = pl.DataFrame({"text": [text]})
    for values in (document_values(frame, RULES), line_values(frame, LINE_RULES)):
        assert all(math.isfinite(value) and value >= 0 for value in values.row(0))


@pytest.mark.parametrize("words", ["spaces", "english"])
@pytest.mark.parametrize("unit", ["1", " ", "a", "a ", ".", "\n", "- ", "#", "é", "the ", " \n", "- x\n", "[0.0.0."])
def test_monotonous_texts_take_linear_time(unit, words):
    frame = pl.DataFrame({"text": [unit * 1_000_000]})
    start = time.perf_counter()
    document_values(frame, RULES, words)
    assert time.perf_counter() - start < 10


def test_bounds_are_inclusive_and_the_first_rule_names_the_drop():
    frame = pl.DataFrame({"text": ["a b", "a b c", "a b c d"]})
    assert document_verdicts(frame, {"min_words": RuleSpec(min=3, max=3)})["rule"].to_list() == [
        "min_words",
        None,
        "min_words",
    ]
    order = ["max_words", "min_words"]
    for first, second in (order, order[::-1]):
        judged = document_verdicts(frame, {first: RuleSpec(max=1), second: RuleSpec(max=1)})
        assert judged["rule"].to_list() == [first] * 3
        assert judged["value"].to_list() == [2, 3, 4]


def test_lines_go_and_are_counted_by_the_first_rule():
    rules = {"line_words": RuleSpec(min=3), "line_policy": RuleSpec(max=0)}
    column = pl.Series(
        ["One two three.\nshort\n\nRead our terms of use.\nuse cookies", "Stays as\u00a0it is. ", "", "x"]
    )
    left, counts = without_lines(column, judged_lines(column, rules), rules)
    assert left.to_list() == ["One two three.\n", "Stays as\u00a0it is. ", "", ""]
    assert counts == {"line_words": {"lines": 3, "bytes": 17}, "line_policy": {"lines": 1, "bytes": 22}}


def test_lines_are_judged_some_at_a_time(monkeypatch):
    rules = {"line_words": RuleSpec(min=2), "line_policy": RuleSpec(max=0)}
    column = pl.Series(["a b\nc\n\nd e\nuse cookies\nf", "g", "h i"])
    whole = without_lines(column, judged_lines(column, rules), rules)
    monkeypatch.setattr(judge, "_LINES_AT_ONCE", 2)
    left, counts = without_lines(column, judged_lines(column, rules), rules)
    assert (left.to_list(), counts) == (whole[0].to_list(), whole[1])
    assert left.to_list() == ["a b\n\nd e", "", "h i"]
    left, counts = without_lines(column.clear(), judged_lines(column.clear(), rules), rules)
    assert (left.to_list(), counts["line_words"]["lines"]) == ([], 0)


def test_a_rule_of_ones_own(monkeypatch):
    own = {name: f"tests.data.rules.own:{name}" for name in ("question_marks", "vowels", "from_a_wiki")}
    monkeypatch.setattr(RULES, "_targets", {**RULES._targets, **own})
    frame = pl.DataFrame({"text": ["Why? Or why not?"], "source": ["wiki"]})
    assert document_values(frame, own).row(0) == (2 / 4, 1.0, 1.0)


@pytest.mark.parametrize("name", ["of_long_texts", "digits_per_letter"])
def test_a_rule_that_gives_no_number_is_told(monkeypatch, name):
    monkeypatch.setattr(RULES, "_targets", {**RULES._targets, name: f"tests.data.rules.own:{name}"})
    frame = pl.DataFrame({"text": ["?", "longer than that", "!"]})
    with pytest.raises(PedigreeError, match=rf"the rule '{name}' gives no number for 2 of 3 texts"):
        document_verdicts(frame, {name: RuleSpec(min=1)})
