import tracemalloc
from collections import Counter
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from llm_core.report.excerpts import (
    DROPPED_EXCERPT,
    EXCERPT,
    KEPT,
    PER_RULE,
    PER_RULE_IN_ALL,
    dropped_samples,
    kept_samples,
    side_by_side,
    texts_of,
)
from tests.report.data_story import SCHEMA, documents, part


def test_the_same_documents_whatever_the_parts(tmp_path: Path) -> None:
    rows = documents("web", 40)
    part(tmp_path / "one" / "a.parquet", rows)
    part(tmp_path / "two" / "a.parquet", rows[::2])
    part(tmp_path / "two" / "b.parquet", rows[1::2])
    one, two = (kept_samples(tmp_path / name) for name in ("one", "two"))
    assert one == two
    assert len(one) == KEPT
    assert {(len(item.text), item.more > 0) for item in one} <= {(EXCERPT, True), (len(one[0].text), False)}
    assert kept_samples(tmp_path / "none") == []


def test_a_few_of_every_rule_and_source(tmp_path: Path) -> None:
    more = {name: SCHEMA[name] for name in ("rule", "value")}
    web, gov = documents("web", 45), documents("gov", 5)
    rows = [{**row, "rule": f"rule {row['row'] % 2}", "value": 1.0} for row in [*web, *gov]]
    part(tmp_path / "one" / "a.parquet", rows, **more)
    samples = dropped_samples(tmp_path / "one")
    sources = {rule: [excerpt.source for excerpt, _ in items] for rule, items in samples.items()}
    assert sources == {"rule 0": ["gov"] * 3 + ["web"] * PER_RULE, "rule 1": ["gov"] * 2 + ["web"] * PER_RULE}
    assert [excerpt.row for excerpt, _ in samples["rule 1"]] == [1, 3, *range(1, 2 * PER_RULE, 2)]
    assert samples["rule 1"][0][1] == {"url": None, "rule": "rule 1", "value": 1.0}
    assert max(len(excerpt.text) for items in samples.values() for excerpt, _ in items) == DROPPED_EXCERPT
    part(tmp_path / "two" / "a.parquet", rows[::3], **more)
    part(tmp_path / "two" / "b.parquet", [*rows[1::3], *rows[2::3]], **more)
    assert dropped_samples(tmp_path / "two") == samples
    assert dropped_samples(tmp_path / "none") == {}


def test_many_sources_share_the_room(tmp_path: Path) -> None:
    more = {name: SCHEMA[name] for name in ("rule", "value")}
    rows = [row for number in range(15) for row in documents(f"s{number:02d}", 12)]
    part(tmp_path / "a.parquet", [{**row, "rule": "short", "value": 1.0} for row in rows], **more)
    counts = Counter(excerpt.source for excerpt, _ in dropped_samples(tmp_path)["short"])
    assert sum(counts.values()) == PER_RULE_IN_ALL
    assert set(counts.values()) == {2, 3}


def test_texts_by_identity(tmp_path: Path) -> None:
    rows = documents("web", 9)
    part(tmp_path / "a.parquet", rows)
    found = texts_of(tmp_path, [rows[3]["doc_id"], "f" * 32])
    assert found == {rows[3]["doc_id"]: rows[3]}


@given(st.lists(st.sampled_from(["a", "b ", "\n\nc", " d"]), max_size=40), st.integers(0, 40), st.text(max_size=8))
def test_pieces_are_the_texts_and_equal_ones_agree(words: list[str], place: int, added: str) -> None:
    left = " ".join(words)
    right = left[:place] + added + left[place:]
    one, other = side_by_side(left, right)
    assert "".join(text for text, _ in one).replace("…", "") in left
    assert "".join(text for text, _ in other).removeprefix("…") in right
    equal = [[text.split() for text, differs in side if not differs] for side in (one, other)]
    assert equal[0] == equal[1]


def test_what_differs_late_is_shown_from_there() -> None:
    same = "word " * 500
    one, other = side_by_side(same + "here it ends", same + "there it ends")
    assert one[0] == ("…", False)
    assert [text.strip() for text, differs in one if differs] == ["here"]
    assert [text.strip() for text, differs in other if differs] == ["there"]


def test_long_texts_take_no_more_memory_and_long_gaps_no_more_time() -> None:
    same = "word " * 200_000
    left, right = f"{same}here", f"{same}there"
    tracemalloc.start()
    one, _ = side_by_side(left, right)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 20
    assert one[-1] == ("here", True)
    gap = "\n" * 1_000_000
    assert side_by_side(f"a b{gap}", f"a c{gap}")[0][0] == ("a ", False)
