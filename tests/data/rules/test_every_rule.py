"""What holds for every rule, of documents and of lines."""

import pytest

from llm_core.contracts.example import Example
from llm_core.contracts.rules import CHECKS
from llm_core.errors import PedigreeError
from llm_core.experiment.cleaning import RuleSpec
from llm_core.registries import LINE_RULES, RULES
from tests.documented import blocks, experiment, rows

EVERY = [*RULES, *LINE_RULES]


@pytest.mark.parametrize("name", EVERY)
def test_it_is_documented_and_an_example_loads(tmp_path, name):
    assert len(rows("cleaning.md")[name]) > 20
    assert experiment(tmp_path, f"cleaning: {{rules: {{{name}: {{max: 1}}}}}}\n").cleaning.rules == {
        name: RuleSpec(max=1)
    }


def test_the_pages_example_loads(tmp_path):
    (block,) = blocks("cleaning.md", "cleaning")
    rules = experiment(tmp_path, block).cleaning.rules
    assert rules["min_words"] == RuleSpec(min=20)
    assert "top_2_gram" not in rules


@pytest.mark.parametrize("name", EVERY)
def test_an_unknown_key_is_named(tmp_path, name):
    with pytest.raises(PedigreeError, match=rf"cleaning\.rules\.{name}\.maxx: there is no such key"):
        experiment(tmp_path, f"cleaning: {{rules: {{{name}: {{max: 1, maxx: 2}}}}}}\n")


def test_an_unknown_rule_is_told_with_the_known_ones(tmp_path):
    with pytest.raises(PedigreeError, match=r"unknown cleaning rule 'line_wrods'; known: .*line_words.*min_words"):
        experiment(tmp_path, "cleaning: {rules: {line_wrods: {max: 1}}}\n")


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_it_keeps_the_contract(name, check):
    check(Example("RULES" if name in RULES else "LINE_RULES", name))
