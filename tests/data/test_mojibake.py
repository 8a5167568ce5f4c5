import polars as pl
import pytest

from llm_core.data.mojibake import has_mojibake, repaired

WRONG = [("cafÃ© dÃ©jÃ  vu", "café déjà vu"), ("Itâ€™s â€œsoâ€\x9d", "It’s “so”"), ("Â© 2020", "© 2020")]
RIGHT = ["São Paulo", "naïve façade", "Ã", "ÐÐ", "Ærø, Ålesund, Þór", "«Привет» — Москва", "東京", "â€", "x"]


@pytest.mark.parametrize(("wrong", "right"), WRONG)
def test_what_was_decoded_wrongly_is_noticed_and_repaired(wrong, right):
    assert has_mojibake(pl.Series([wrong])).to_list() == [True]
    assert repaired(pl.Series([wrong, "plain"])).to_list() == [right, "plain"]


def test_other_scripts_too():
    texts = pl.Series([text.encode().decode("latin-1") for text in ("Москва — столица", "Ελλάδα", "東京都です")])
    assert has_mojibake(texts).all()


def test_what_is_right_stays():
    assert not has_mojibake(pl.Series(RIGHT)).any()
    assert repaired(pl.Series(RIGHT)).to_list() == RIGHT
