import pytest

from llm_core.report import formatting


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (812, "812"),
        (999_600, "1.00M"),
        (5_243_904, "5.24M"),
        (52_439, "52.4k"),
        (20e9, "20.0B"),
        (0.52, "0.52"),
    ],
)
def test_short(value: float, text: str) -> None:
    assert formatting.short(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.042, "0.042 s"),
        (1.26, "1.3 s"),
        (59.4, "59 s"),
        (59.6, "1 min 0 s"),
        (283, "4 min 43 s"),
        (7_300, "2 h 2 min"),
    ],
)
def test_duration(seconds: float, text: str) -> None:
    assert formatting.duration(seconds) == text


def test_the_rest() -> None:
    assert formatting.in_bytes(15_998_211) == "16.0 MB"
    assert formatting.in_bytes(12) == "12 B"
    assert formatting.percent(0) == "0%"
    assert formatting.percent(0.00001) == "< 0.01%"
    assert formatting.percent(0.0031) == "0.31%"
    assert formatting.percent(0.397) == "39.7%"
    assert formatting.signed(-0.0131) == "\N{MINUS SIGN}0.0131"
    assert formatting.tick(1_500_000) == "1.5M"
    assert formatting.dollars(4321) == "$4,321"
    assert formatting.dollars(12.3) == "$12.30"
    assert formatting.moment("2026-01-31T14:05:09+00:00") == "2026-01-31 14:05 UTC"
