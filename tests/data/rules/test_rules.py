import math
import time

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_core.registries import RULES

CASES = [
    ("min_words", "one, two -- three\n four", 5),
    ("max_words", "", 0),
    ("mean_word_length", "ab  abcd", 3),
    ("mean_word_length", "", 0),
    ("alphabetic_words", "ab 12 x1 ==", 0.5),
    ("alphabetic_words", "слово 文 --", 2 / 3),
    ("symbols_per_word", "a # ## b", 3 / 4),
    ("symbols_per_word", "a... b… c d", 2 / 4),
    ("newlines_per_word", "a\nb\n\nc", 1),
    ("bullet_lines", "- a\n\n  * b\n•c\n-dash\nd", 3 / 5),
    ("ellipsis_lines", "a...\nb…\nc", 2 / 3),
    ("ellipsis_lines", "a... b", 0),
    ("duplicate_lines", "a\n  a\n\nb\na", 2 / 4),
    ("duplicate_line_characters", "abc\nabc\nd", 3 / 7),
    ("punctuated_lines", 'Done.\n"So?"\nnot\n\n', 2 / 3),
    ("short_lines", "x" * 30 + "\n" + "x" * 31, 0.5),
    ("short_lines", "\n", 0),
    ("stop_words", "The cat, to be. THE other bathe", 3),
    ("stop_words", "", 0),
]


def value(name, text):
    return pl.DataFrame({"text": [text]}).select(RULES.load(name)().cast(pl.Float64)).item()


@pytest.mark.parametrize(("name", "text", "expected"), CASES)
def test_values(name, text, expected):
    assert value(name, text) == pytest.approx(expected)


def test_every_rule_has_a_case():
    assert {name for name, _, _ in CASES} == set(RULES)


@pytest.mark.parametrize("name", RULES)
@settings(max_examples=50, deadline=None)
@given(text=st.text(st.one_of(st.sampled_from(" \n#.-*•…a"), st.characters(exclude_categories=["Cs"])), max_size=60))
def test_a_value_is_always_a_number(name, text):
    assert math.isfinite(value(name, text))
    assert value(name, text) >= 0


@pytest.mark.parametrize("unit", ["1", " ", "a", ".", "\n", "- ", "#", "é", "the ", " \n", "- x\n"])
def test_monotonous_texts_take_linear_time(unit):
    frame = pl.DataFrame({"text": [unit * 1_000_000]})
    start = time.perf_counter()
    frame.select(RULES.load(name)().cast(pl.Float64).alias(name) for name in RULES)
    assert time.perf_counter() - start < 10
