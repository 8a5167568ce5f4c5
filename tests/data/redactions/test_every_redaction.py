"""What holds for every kind of redaction."""

import re

import polars as pl
import pytest

from llm_core.contracts.rules import HOSTILE
from llm_core.errors import PedigreeError
from llm_core.experiment.cleaning import RedactionSpec
from llm_core.registries import REDACTIONS
from tests.documented import experiment, rows


def redacted(kind, texts):
    column, counts = REDACTIONS.load(kind)().redacted(pl.Series("text", texts))
    return column.to_list(), counts.to_list()


def example(kind):
    """The texts before and after it in the page's table."""
    return re.findall("`([^`]+)`", rows("cleaning.md")[kind].partition("| ")[2])


@pytest.mark.parametrize("kind", REDACTIONS)
def test_it_does_what_the_page_shows_and_once_is_enough(kind):
    before, after = example(kind)
    assert redacted(kind, [before]) == ([after], [1])
    assert redacted(kind, [after])[0] == [after]


@pytest.mark.parametrize("kind", REDACTIONS)
@pytest.mark.parametrize("text", ["[{kind}]", "[{{kind: {kind}}}]"])
def test_it_loads_by_its_name_and_as_a_mapping(tmp_path, kind, text):
    (found,) = experiment(tmp_path, f"cleaning: {{redactions: {text.format(kind=kind)}}}\n").cleaning.redactions
    assert isinstance(found, RedactionSpec)
    assert found.kind == kind


@pytest.mark.parametrize("kind", REDACTIONS)
def test_an_unknown_key_is_named(tmp_path, kind):
    with pytest.raises(PedigreeError, match=rf"cleaning\.redactions\.0: {kind}: nonsense: there is no such key"):
        experiment(tmp_path, f"cleaning: {{redactions: [{{kind: {kind}, nonsense: 1}}]}}\n")


@pytest.mark.parametrize("kind", REDACTIONS)
def test_texts_without_a_match_stay_as_they_are(kind):
    assert redacted(kind, HOSTILE) == (list(HOSTILE), [0] * len(HOSTILE))
