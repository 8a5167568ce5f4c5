import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_core.data.rules.redactions import EMAIL, IP, PHONE
from llm_core.registries import REDACTIONS

CASES = [
    ("citations", "so it is[1][23].[edit] [citation needed] [a] x[]", "so it is.  [a] x", 5),
    (
        "emails",
        "To: ann.o'hara+x@mail.example.co.uk, b@c (no), @home, d@e.f1",
        f"To: {EMAIL}, b@c (no), @home, d@e.f1",
        1,
    ),
    ("public_ips", "8.8.8.8, 10.0.0.1 192.168.1.1 1.2.3.4.", f"{IP}, 10.0.0.1 192.168.1.1 {IP}.", 2),
    (
        "public_ips",
        "1.2.3, 1.2.3.4.5, 300.1.1.1, 01.02.03.04, v1.2.3.4",
        "1.2.3, 1.2.3.4.5, 300.1.1.1, 01.02.03.04, v1.2.3.4",
        0,
    ),
    ("ips", "10.0.0.1:80", f"{IP}:80", 1),
    ("phones", "Call (212) 736-5000 or 212-736-5000.", f"Call {PHONE} or {PHONE}.", 2),
    ("phones", "+44 20 7946 0958, +1-212-736-5000", f"{PHONE}, {PHONE}", 2),
    ("phones", "2024-11-20, 1999 2000, 1234567890, 12.345.6789", "2024-11-20, 1999 2000, 1234567890, 12.345.6789", 0),
]


@pytest.mark.parametrize(("name", "text", "expected", "count"), CASES)
def test_examples(name, text, expected, count):
    redacted, counts = REDACTIONS.load(name)(pl.Series("text", ["nothing here", text]))
    assert redacted.to_list() == ["nothing here", expected]
    assert counts.to_list() == [0, count]


def test_every_redaction_has_an_example():
    assert {name for name, *_ in CASES} == set(REDACTIONS)


@pytest.mark.parametrize("name", REDACTIONS)
@settings(max_examples=60, deadline=None)
@given(text=st.text(st.sampled_from("[]1279.+-() @aé\n"), max_size=60))
def test_what_is_taken_out_is_gone(name, text):
    redact = REDACTIONS.load(name)
    once, counts = redact(pl.Series("text", [text]))
    assert (once[0] != text) <= (counts[0] > 0)
    if name != "citations":  # what is left of [[1]] is one
        assert redact(once)[0].to_list() == once.to_list()
