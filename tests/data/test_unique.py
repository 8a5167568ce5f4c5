import random
from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_core.data import unique
from llm_core.data.dedup.signatures import doc_id_texts, read_signatures
from llm_core.data.parquet_parts import DOCUMENT
from llm_core.data.records import document_id
from llm_core.experiment.dedup import DedupSpec, MinHashSpec
from llm_core.experiment.runtime import ComputeSpec
from llm_core.graph.job import Job, Runtime
from tests.data.stages import artifact, digests, documents, read, run, write
from tests.judged import judged

EXACT = DedupSpec(method="exact")
WORDS = [f"word{number}" for number in range(2000)]


def prose(seed, words=200):
    return " ".join(random.Random(seed).choices(WORDS, k=words))


def edited(text, share, seed):
    """``text`` with that share of its words replaced."""
    chance = random.Random(seed)
    words = text.split()
    for place in chance.sample(range(len(words)), round(share * len(words))):
        words[place] = f"other{chance.randrange(10**9)}"
    return " ".join(words)


def kept_texts(out):
    return set(read(out / "parts")["text"])


@settings(max_examples=40, deadline=None)
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
    frame = pl.DataFrame(
        [(document_id(*row[:3]), row[3], *row[:3], None) for row in rows], schema=DOCUMENT, orient="row"
    )
    clean = write(work / "clean", frame[:cut], frame[cut:])
    stats = run(unique.build, work / "job", {"documents": clean}, dedup=EXACT)
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
    stats = run(unique.build, tmp_path / "job", {"documents": clean}, dedup=EXACT)
    assert stats == {
        "documents_in": 4,
        "bytes_in": 5,
        "documents": 2,
        "bytes": 2,
        "dropped": 2,
        "dropped_by_rule": {"exact_duplicate": 2, "near_duplicate": 0, "repeated_units": 0},
        "duplicate_share": 0.5,
        "clusters": 1,
        "clusters_across_sources": 0,
        "largest_cluster": 3,
        "repeated_doc_ids": 0,
        "repeated_units": {"documents": 0, "units": 0, "bytes": 0},
        "funnel": {
            "made": {
                "documents_in": 4,
                "bytes_in": 5,
                "documents": 2,
                "bytes": 2,
                "dropped": {"exact_duplicate": {"documents": 2, "bytes": 3}},
            }
        },
    }
    verdicts = judged("unique_documents", stats, max_duplicate_share=0.5, max_cluster_share=0.8)
    assert [check.passed for check in verdicts] == [True, True, True, True]
    verdicts = judged("unique_documents", stats, max_duplicate_share=0.4, max_cluster_share=0.7)
    assert [check.passed for check in verdicts] == [True, False, True, False]
    none = run(unique.build, tmp_path / "none", {"documents": clean}, dedup=DedupSpec(method="none"))
    assert (none["documents"], none["dropped"], none["clusters"], none["largest_cluster"]) == (4, 0, 0, 1)
    assert read(tmp_path / "none" / "out" / "dropped").is_empty()


def test_near_duplicates_go_and_the_clusters_are_told(tmp_path):
    texts = [prose(1), prose(2), edited(prose(1), 0.01, 3), prose(4), prose(1).upper(), edited(prose(2), 0.3, 5)]
    clean = write(tmp_path / "clean", documents(texts[:3]), documents(texts[3:], source="other"))
    stats = run(unique.build, tmp_path / "job", {"documents": clean}, dedup=DedupSpec())
    out = tmp_path / "job" / "out"
    assert kept_texts(out) == {texts[0], texts[1], texts[3], texts[5]}
    assert stats["dropped_by_rule"] == {"exact_duplicate": 1, "near_duplicate": 1, "repeated_units": 0}
    assert (stats["clusters"], stats["clusters_across_sources"], stats["largest_cluster"]) == (1, 1, 3)
    clusters = pl.read_parquet(out / "clusters.parquet")
    names = {document_id("made", "made.jsonl", row): f"a{row}" for row in range(3)}
    names |= {document_id("other", "made.jsonl", row): f"b{row}" for row in range(3)}
    told = [(row["cluster"], names[row["doc_id"]], row["kept"], row["rule"]) for row in clusters.iter_rows(named=True)]
    assert told == [(0, "a0", True, None), (0, "a2", False, "near_duplicate"), (0, "b1", False, "exact_duplicate")]
    assert clusters["size"].to_list() == [3, 3, 3]
    assert clusters["source"].to_list() == ["made", "made", "other"]
    assert clusters["similarity"].to_list()[::2] == [1.0, 1.0]
    assert 0.7 < clusters["similarity"][1] < 1
    dropped = read(out / "dropped").sort("rule")
    assert [names[doc_id] for doc_id in dropped["kept_doc_id"]] == ["a0", "a0"]
    assert dropped["value"].to_list() == [3.0, clusters["similarity"][1]]


@pytest.mark.parametrize(
    ("spec", "kept"),
    [
        (DedupSpec(), "a0"),
        (DedupSpec(keep="longest"), "a1"),
        (DedupSpec(prefer=("b",)), "b0"),
        (DedupSpec(prefer=("b", "a"), keep="longest"), "b1"),
        (DedupSpec(prefer=("c",)), "a0"),
    ],
)
def test_which_document_stays(tmp_path, spec, kept):
    base = prose(1)
    clean = write(
        tmp_path / "clean", documents([f"{base} x", f"{base} xyz"], "b"), documents([base, f"{base} wxyz"], "a")
    )
    run(unique.build, tmp_path / "job", {"documents": clean}, dedup=spec)
    names = {document_id(source, "made.jsonl", row): f"{source}{row}" for source in "ab" for row in range(2)}
    assert [names[doc_id] for doc_id in read(tmp_path / "job" / "out" / "parts")["doc_id"]] == [kept]


def test_a_chain_of_small_steps_is_no_cluster(tmp_path):
    """Every text is like its neighbours, and the last has hardly anything of the first."""
    words = prose(1, words=400).split()
    texts = [" ".join(words[start : start + 200]) for start in range(0, 200, 20)]
    clean = write(tmp_path / "clean", documents(texts))
    run(unique.build, tmp_path / "job", {"documents": clean}, dedup=DedupSpec())
    out = tmp_path / "job" / "out"
    clusters = pl.read_parquet(out / "clusters.parquet")
    assert 2 <= read(out / "parts").height <= 6
    assert clusters["similarity"].min() >= 0.65


def test_short_documents_are_compared_exactly_only(tmp_path):
    texts = ["one two three four", "One two, three four!", "one two three five", "one two three four five", "!", "?"]
    clean = write(tmp_path / "clean", documents(texts))
    run(unique.build, tmp_path / "job", {"documents": clean}, dedup=DedupSpec())
    assert kept_texts(tmp_path / "job" / "out") == {texts[0], *texts[2:]}


@pytest.mark.parametrize(
    "texts",
    [
        ["same line\n" * 20_000, "same line\n" * 20_001, "other line\n" * 20_000],
        ["a\u0301\u0323" * 5000, "a\u0323\u0301" * 5000, "\u0301" * 100, "\u202eabc\u202c"],
        [f"{number}: " + "the same words over and over again " * 30 for number in range(300)],
        ["\u00b4", "\ufdfa" * 50, "x" * 200_000, "…" * 1000],
    ],
)
def test_hostile_texts(tmp_path, texts):
    """They come to an end, and nothing is lost."""
    clean = write(tmp_path / "clean", documents(texts))
    stats = run(unique.build, tmp_path / "job", {"documents": clean}, dedup=DedupSpec())
    assert read(tmp_path / "job" / "out" / "parts").height + read(tmp_path / "job" / "out" / "dropped").height == len(
        texts
    )
    assert stats["documents"] >= 1


def test_signatures_follow_the_documents_that_stay(tmp_path):
    clean = write(tmp_path / "clean", documents([prose(1), prose(1), prose(2)]), documents([prose(3)], origin="b"))
    run(unique.build, tmp_path / "job", {"documents": clean}, dedup=DedupSpec(minhash=MinHashSpec(bands=3, rows=2)))
    out = tmp_path / "job" / "out"
    for path in sorted((out / "parts").iterdir()):
        signatures = read_signatures(out / "signatures" / f"{path.stem}.npy")
        assert doc_id_texts(signatures["doc_id"]) == pl.read_parquet(path)["doc_id"].to_list()
        assert signatures["minhash"].shape[1] == 6


def test_parts_without_a_repeat_are_the_same_files(tmp_path):
    clean = write(tmp_path / "clean", documents([prose(1), prose(1)]), documents([prose(3)], origin="b"))
    run(unique.build, tmp_path / "job", {"documents": clean}, dedup=DedupSpec())
    inode = [(root / "parts" / "00001.parquet").stat().st_ino for root in (clean, tmp_path / "job" / "out")]
    assert inode[0] == inode[1]


def test_the_parts_a_text_stands_in_change_nothing(tmp_path):
    """The same documents in other parts: the same ones stay, byte for byte with equal parts."""
    frame = documents(
        [prose(number % 7) if number % 3 else edited(prose(number), 0.01, number) for number in range(30)]
    )
    kept = []
    for name, cuts in (("a", [0, 30]), ("b", [0, 4, 19, 30])):
        pieces = [frame[start:stop] for start, stop in pairwise(cuts)]
        clean = write(tmp_path / name, *pieces)
        run(unique.build, tmp_path / f"{name}1", {"documents": clean}, dedup=DedupSpec())
        run(unique.build, tmp_path / f"{name}2", {"documents": clean}, dedup=DedupSpec())
        assert digests(tmp_path / f"{name}1" / "out") == digests(tmp_path / f"{name}2" / "out")
        kept.append(read(tmp_path / f"{name}1" / "out" / "parts")["doc_id"].to_list())
    assert kept[0] == kept[1]


def test_a_repeated_doc_id_closes_the_gate(tmp_path):
    frame = documents(["one", "two"])
    clean = write(tmp_path / "clean", frame, frame.with_columns(text=pl.lit("three")))
    stats = run(unique.build, tmp_path / "job", {"documents": clean}, dedup=EXACT)
    verdict = {check.name: check for check in judged("unique_documents", stats)}["doc_ids_differ"]
    assert (verdict.passed, verdict.value) == (False, 2)


def test_no_documents_at_all(tmp_path):
    clean = write(tmp_path / "clean", documents([]))
    stats = run(unique.build, tmp_path / "job", {"documents": clean}, dedup=DedupSpec())
    assert (stats["documents_in"], stats["documents"], stats["duplicate_share"]) == (0, 0, 0.0)
    assert np.load(tmp_path / "job" / "out" / "signatures" / "00000.npy").shape == (0,)


def test_a_changed_part_makes_only_its_own_signatures_again(tmp_path):
    """And only the selection of parts of which other documents stay."""
    pieces = [documents([prose(10 * part + row) for row in range(3)], origin=f"o{part}") for part in range(6)]

    def counts(name, changed):
        folder = write(tmp_path / name, *changed)
        work = tmp_path / f"{name} work"
        (work / "out").mkdir(parents=True)
        runtime = Runtime(compute=ComputeSpec(workers=1))
        inputs = {"documents": artifact(folder)}
        job = Job("stage", "identity", inputs, work, work / "out", runtime, parts=tmp_path / "parts")
        unique.build(job, dedup=DedupSpec())
        return dict(job.part_counts)

    assert counts("a", pieces) == {"found": 0, "made": 12}
    assert counts("b", pieces) == {"found": 12, "made": 0}
    other = documents([prose(99)], origin="o2")
    assert counts("c", [*pieces[:2], other, *pieces[3:]]) == {"found": 10, "made": 2}
    twin = documents([prose(50)], origin="o2")  # stands in the part after it as well, and comes first
    assert counts("d", [*pieces[:2], twin, *pieces[3:]]) == {"found": 9, "made": 3}
