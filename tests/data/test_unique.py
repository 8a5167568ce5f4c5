import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_core.data import unique
from llm_core.data.keys import folded
from llm_core.data.parts import DOCUMENT
from llm_core.data.records import document_id
from llm_core.experiment.dedup import DedupSpec
from llm_core.experiment.evaluation import ChecksSpec
from tests.data.stages import documents, read, run, write


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("Hello, World!", "hello  world"),
        ("a-b\n\nc", "A b (c)"),
        ("ﬁne", "fine"),
        ("...", " ... "),
    ],
)
def test_what_counts_as_the_same(text, same):
    keys = pl.DataFrame({"text": [text, same]}).select(folded()).to_series()
    assert keys[0] == keys[1]


@pytest.mark.parametrize(("text", "other"), [("ab", "a b"), ("x 1", "x 2"), ("...", "!!!"), ("é", "e")])
def test_what_does_not(text, other):
    keys = pl.DataFrame({"text": [text, other]}).select(folded()).to_series()
    assert keys[0] != keys[1]


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(
        st.tuples(
            st.sampled_from("ab"),
            st.sampled_from(["z", "y", "x"]),
            st.integers(0, 9),
            st.sampled_from(["p q", "P, q!", "r", "s", "."]),
        ),
        max_size=25,
        unique_by=lambda row: row[:3],
    ),
    cut=st.integers(0, 25),
)
def test_the_first_of_equals_stays(tmp_path_factory, rows, cut):
    """First by source, origin and row, in whatever order and parts they come."""
    work = tmp_path_factory.mktemp("unique")
    frame = pl.DataFrame([(document_id(*row[:3]), row[3], *row[:3]) for row in rows], schema=DOCUMENT, orient="row")
    clean = write(work / "clean", frame[:cut], frame[cut:])
    stats = run(unique.build, work / "job", {"documents": clean}, dedup=DedupSpec())
    kept, dropped = read(work / "job" / "out" / "parts"), read(work / "job" / "out" / "dropped")
    groups = {}
    for row in sorted(rows):
        groups.setdefault("p q" if row[3] == "P, q!" else row[3], []).append(document_id(*row[:3]))
    assert kept["doc_id"].to_list() == [
        doc_id for doc_id in frame["doc_id"] if any(doc_id == group[0] for group in groups.values())
    ]
    assert dict(kept.schema) == DOCUMENT
    for group in groups.values():
        own = dropped.filter(pl.col("doc_id").is_in(group))
        assert own.height == len(group) - 1
        assert set(own["kept_doc_id"]) <= {group[0]}
        assert set(own["value"]) <= {float(len(group))}
    assert (stats["documents_in"], stats["documents"], stats["dropped"]) == (len(rows), kept.height, dropped.height)


def test_statistics_and_checks(tmp_path):
    clean = write(tmp_path / "clean", documents(["a", "A", "b", "a!"]))
    stats = run(unique.build, tmp_path / "job", {"documents": clean}, dedup=DedupSpec())
    assert stats == {
        "documents_in": 4,
        "documents": 2,
        "bytes": 2,
        "dropped": 2,
        "duplicate_share": 0.5,
        "largest_group": 3,
        "dropped_by_source": {"made": 2},
    }
    assert [check.passed for check in unique.checks(stats, ChecksSpec(max_duplicate_share=0.5))] == [True, True]
    assert [check.passed for check in unique.checks(stats, ChecksSpec(max_duplicate_share=0.4))] == [True, False]
    kept = run(unique.build, tmp_path / "none", {"documents": clean}, dedup=DedupSpec(method="none"))
    assert (kept["documents"], kept["dropped"], kept["largest_group"]) == (4, 0, 1)
    assert read(tmp_path / "none" / "out" / "dropped").is_empty()
