import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_core.data import clean
from llm_core.data.parts import DOCUMENT
from llm_core.experiment.cleaning import CleaningSpec, RuleSpec
from llm_core.experiment.evaluation import ChecksSpec
from tests.data.stages import digests, documents, read, run, write


def rules(**bounds):
    return {name: RuleSpec(min=low, max=high) for name, (low, high) in bounds.items()}


def test_kept_and_dropped(tmp_path):
    raw = write(
        tmp_path / "raw",
        documents(["one two three", "x", "“quoted” text…  \r\n", "1 2 3 4", "\u200b"]),
        documents(["# # #"], origin="b"),
    )
    cleaning = CleaningSpec(rules=rules(min_words=(2, None), alphabetic_words=(0.5, 1.0), symbols_per_word=(None, 0.5)))
    stats = run(clean.build, tmp_path / "job", {"documents": raw}, cleaning=cleaning)
    out = tmp_path / "job" / "out"
    kept, dropped = read(out / "parts"), read(out / "dropped")
    assert dict(kept.schema) == DOCUMENT
    assert kept.select("row", "text").rows() == [(0, "one two three"), (2, '"quoted" text...')]
    assert dropped.select("origin", "row", "rule", "value").rows() == [
        ("made.jsonl", 1, "min_words", 1.0),
        ("made.jsonl", 3, "alphabetic_words", 0.0),
        ("made.jsonl", 4, "empty", 0.0),
        ("b", 0, "alphabetic_words", 0.0),
    ]
    assert sorted(path.name for path in (out / "parts").iterdir()) == ["00000.parquet", "00001.parquet"]
    assert stats == {
        "documents_in": 6,
        "bytes_in": sum(read(raw / "parts")["text"].str.len_bytes()),
        "documents": 2,
        "bytes": 29,
        "normalising_changed": 2,
        "dropped": 4,
        "drop_share": 4 / 6,
        "dropped_by_rule": {"empty": 1, "min_words": 1, "alphabetic_words": 2, "symbols_per_word": 0},
    }
    checks = clean.checks(stats, ChecksSpec(max_drop_share=0.6))
    assert [(check.name, check.passed) for check in checks] == [("not_empty", True), ("drop_share", False)]
    assert "alphabetic_words (2)" in checks[1].message


def test_bounds_are_inclusive_and_the_first_rule_names_the_drop():
    frame = documents(["a b", "a b c", "a b c d"])
    only = clean.judge(frame, CleaningSpec(rules=rules(min_words=(3, 3))))
    assert only["rule"].to_list() == ["min_words", None, "min_words"]
    order = ["max_words", "min_words"]
    for first, second in (order, order[::-1]):
        judged = clean.judge(frame, CleaningSpec(rules=rules(**{first: (None, 1), second: (None, 1)})))
        assert judged["rule"].to_list() == [first] * 3


def test_an_unneeded_threshold_changes_no_file(tmp_path):
    raw = write(tmp_path / "raw", documents([f"text number {number}" for number in range(50)]))
    for name, bound in (("a", 1), ("b", 2)):
        run(
            clean.build,
            tmp_path / name,
            {"documents": raw},
            cleaning=CleaningSpec(rules=rules(min_words=(bound, None))),
        )
    assert digests(tmp_path / "a" / "out") == digests(tmp_path / "b" / "out")


@settings(max_examples=25, deadline=None)
@given(texts=st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=30), max_size=12))
def test_nothing_is_lost_or_doubled(tmp_path_factory, texts):
    work = tmp_path_factory.mktemp("clean")
    frame = documents(texts)
    raw = write(work / "raw", frame)
    stats = run(clean.build, work / "job", {"documents": raw}, cleaning=CleaningSpec(rules=rules(min_words=(2, None))))
    kept, dropped = read(work / "job" / "out" / "parts"), read(work / "job" / "out" / "dropped")
    assert sorted([*kept["doc_id"], *dropped["doc_id"]]) == sorted(frame["doc_id"])
    assert stats["documents"] + stats["dropped"] == stats["documents_in"] == len(texts)
    assert pl.concat([kept.select("doc_id"), dropped.select("doc_id")]).height == len(texts)
