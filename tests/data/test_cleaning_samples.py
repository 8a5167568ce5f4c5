import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_core.data import clean
from llm_core.data.cleaning_samples import EDITS, NEAR_MISSES, SHOWN, first_change
from llm_core.experiment.cleaning import CleaningSpec, LanguageSpec, RuleSpec
from tests.data.stages import documents, read, run, write

CLEANING = CleaningSpec(
    redactions=("emails",),
    rules={"line_words": RuleSpec(min=2), "min_words": RuleSpec(min=5, max=40), "mean_word_length": RuleSpec(max=9)},
)


def samples(work, *parts, cleaning=CLEANING):
    raw = write(work / "raw", *parts)
    run(clean.build, work / "job", {"documents": raw}, cleaning=cleaning)
    out = work / "job" / "out"
    return [[json.loads(line) for line in (out / name).read_text().splitlines()] for name in (EDITS, NEAR_MISSES)]


def shown(pieces):
    marks = {"": "{}", "del": "[-{}-]", "ins": "[+{}+]"}
    return "".join(marks[piece["change"]].format(piece["text"]) for piece in pieces)


def made(count):
    """Texts of different lengths, each with an edit of every kind."""
    texts = (f"“Word{'s' * number}” {'and on ' * number} a@b.example\nline\nend of it" for number in range(count))
    return documents(texts)


def test_edits_show_what_changed_and_what_stands_around_it(tmp_path):
    before, after = "long before " * 20, " long after" * 20
    text = f"{before}x \u201cy\u201d{after}\nshort\nask me@web.example now."
    edits, _ = samples(tmp_path, documents([text, "a plain text  \r\n", "nothing here"]))
    first, second, third = edits
    assert (first["kind"], second["kind"], third["kind"]) == ("emails", "line_words", "normalising")
    assert first["doc_id"] == documents([text])["doc_id"][0]
    assert first["source"] == "made"
    assert shown(first["pieces"]).endswith(" short ask [-me@web.example-][+email@example.com+] now.")
    assert shown(second["pieces"]).startswith("…")
    assert shown(second["pieces"]).endswith("long after\n[-short-]\nask email@example.com now.")
    told = shown(third["pieces"])
    assert '[-“y”-][+"y"+]' in told
    assert told.startswith("…")
    assert told.endswith("…")
    assert len(told) < 250


def test_a_document_in_which_only_white_space_changed_is_no_sample(tmp_path):
    edits, _ = samples(tmp_path, documents([" a text  \r\n\n\n\nwith a\u00a0break\t \n", "two words"]))
    assert edits == []


def test_near_misses_are_the_kept_documents_nearest_to_each_bound(tmp_path):
    texts = [" ".join(["word"] * count) for count in range(1, 60)]
    _, near = samples(tmp_path, documents(texts))
    found = {}
    for row in near:
        found.setdefault((row["rule"], row["bound"]), []).append(row["value"])
    assert found == {
        ("min_words", "min"): [float(value) for value in range(5, 15)],
        ("min_words", "max"): [float(value) for value in range(40, 30, -1)],
        ("mean_word_length", "max"): [4.0] * SHOWN,
    }
    (row,) = (row for row in near if row["value"] == 5.0)
    assert (row["excerpt"], row["source"]) == ("word word word word word", "made")
    assert all(len(row["excerpt"]) <= 201 for row in near)


def test_what_another_rule_drops_is_no_near_miss(tmp_path):
    cleaning = CleaningSpec(rules={"min_words": RuleSpec(min=2), "curly_brackets": RuleSpec(max=0)})
    _, near = samples(tmp_path, documents(["two {words}", "three words here"]), cleaning=cleaning)
    assert [(row["rule"], row["value"]) for row in near] == [("curly_brackets", 0.0), ("min_words", 3.0)]


def test_languages_have_near_misses_too(tmp_path):
    english = "The harbour was quiet, and the boats that had come in with the tide were made fast."
    cleaning = CleaningSpec(language=LanguageSpec(keep=("en",), min_score=0.3))
    _, (row,) = samples(tmp_path, documents([english, "1 2 3"]), cleaning=cleaning)
    assert (row["rule"], row["bound"], row["excerpt"]) == ("language", "min", english)
    assert 0.3 <= row["value"] <= 1


def test_the_same_samples_whatever_the_parts(tmp_path):
    frame = made(60)
    whole = samples(tmp_path / "one", frame)
    assert samples(tmp_path / "many", *(frame[start : start + 7] for start in range(0, 60, 7))) == whole
    assert samples(tmp_path / "other", frame[1::2], frame[::2].reverse()) == whole
    edits, near = whole
    kinds = [row["kind"] for row in edits]
    assert {kind: kinds.count(kind) for kind in kinds} == dict.fromkeys(["emails", "line_words", "normalising"], SHOWN)
    lowest = sorted(frame["doc_id"])[:SHOWN]
    assert [row["doc_id"] for row in edits if row["kind"] == "normalising"] == lowest
    assert len({(row["rule"], row["bound"]) for row in near}) * SHOWN == len(near)


def test_parts_are_not_held_all_at_once(tmp_path, monkeypatch):
    whole = samples(tmp_path / "one", made(30))
    monkeypatch.setattr("llm_core.data.cleaning_samples._PARTS_AT_ONCE", 2)
    frame = made(30)
    assert samples(tmp_path / "many", *(frame[start : start + 3] for start in range(0, 30, 3))) == whole


def test_another_bound_that_drops_the_same_gives_the_same_samples(tmp_path):
    frame = made(20)
    cleaning = CleaningSpec(rules={"min_words": RuleSpec(min=1)})
    other = CleaningSpec(rules={"min_words": RuleSpec(min=2)})
    assert samples(tmp_path / "one", frame, cleaning=cleaning) == samples(tmp_path / "two", frame, cleaning=other)


def test_the_artifact_holds_the_joined_samples_only(tmp_path):
    samples(tmp_path, made(5))
    out = tmp_path / "job" / "out"
    assert sorted(path.name for path in out.iterdir()) == ["dropped", EDITS, NEAR_MISSES, "parts"]
    assert read(out / "parts").height + read(out / "dropped").height == 5


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("an end.[1]", "an end.", "an end.[-[1]-]"),
        ("cafe\u0301 here", "caf\u00e9 here", "[-cafe\u0301-][+caf\u00e9+] here"),
        ("e\u0301 x", "e x", "[-e\u0301-][+e+] x"),
        ("a\u200bb", "ab", "[-a\u200bb-][+ab+]"),
        ("ip 11.2.3.4.", "ip 192.0.2.1.", "ip [-11.2.3.4-][+192.0.2.1+]."),
        ("so late", "so later", "so [-late-][+later+]"),
        ("a b", "a\n b ", ""),
        ("x " * 20_000 + "y", "x " * 20_000, ""),  # behind what is read
    ],
)
def test_changes_within_words(before, after, told):
    assert shown(first_change(before, after)) == told


def test_a_long_document_costs_no_more():
    text = "“a” " * 2_000_000
    assert shown(first_change(text, text.replace("“", '"').replace("”", '"'))).startswith('[-“a”-][+"a"+]')


LETTERS = st.text(st.sampled_from("ab \n\u0301\u200b“"), max_size=300)


@given(LETTERS, LETTERS, LETTERS)
def test_pieces_are_true_to_both_texts(start, old, new):
    before, after = (" ".join(text.split()) for text in (f"{start} {old}", f"{start} {new}"))
    pieces = first_change(before, after)
    assert bool(pieces) == (before != after)
    for text, change in ((before, "del"), (after, "ins")):
        assert "".join(piece["text"] for piece in pieces if piece["change"] in ("", change)).strip("…") in text
