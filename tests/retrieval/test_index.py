from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_core.errors import PedigreeError
from llm_core.retrieval.passages import passages
from llm_core.retrieval.prompts import with_passages
from llm_core.retrieval.words import words
from tests.retrieval.conftest import HELDOUT, TRAIN, World, indexed


def test_a_word_counts_as_often_as_it_stands_in_the_query_and_is_looked_up_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    index, query = world.searcher._index, ["the", "sand", "the", "heat", "sugar", "the", "sugar"]
    ids, scores = index.retrieve([query], k=4, show_progress=False)
    found = world.searcher.search(" ".join(query), 4)
    assert [passage for passage, _ in found] == [world.searcher.passage(int(number)) for number in ids[0]]
    assert [score for _, score in found] == pytest.approx(scores[0].tolist())
    looked_up: list[str] = []
    get_scores = index.get_scores
    monkeypatch.setattr(index, "get_scores", lambda known: looked_up.extend(known) or get_scores(known))
    world.searcher.search("the sand the sea " * 50_000, 1)
    assert sorted(looked_up) == ["sand", "sea", "the"]


def test_a_search_finds_the_passage_with_its_document_and_url(world: World) -> None:
    (best, score), *rest = world.searcher.search("Why does the CRUST turn brown?", 3)
    assert (best.doc_id, best.url, best.place) == ("bread", "https://example.org/bread", "notes/heldout.txt:0")
    assert best.text.startswith("The crust turns brown")
    assert HELDOUT["bread"][best.start :].startswith(best.text)
    assert all(score >= other for _, other in rest)
    assert world.searcher.search("nectar", 1)[0][0].url is None
    assert world.searcher.search("nectar", 1)[0][0].place == "notes/heldout.txt:1"


def test_what_shares_no_word_is_not_found(world: World) -> None:
    assert world.searcher.search("quasar", 3) == []
    assert world.searcher.search("", 3) == []
    assert len(world.searcher.search("nectar quasar", 99)) == 1
    assert world.searcher.search("zebra", 3) == []  # documents that were dropped are not indexed


def test_the_results_count_what_is_indexed(world: World) -> None:
    assert world.results["documents"] == len(TRAIN) + len(HELDOUT)
    assert world.results["passages"] == len(world.searcher.names()) == 6
    assert world.results["with_url"] == 5


def test_the_same_documents_give_the_same_files(world: World, tmp_path: Path) -> None:
    indexed(world.folder, tmp_path)
    for file in sorted((tmp_path / "out").rglob("*")):
        if file.is_file():
            other = world.folder / "index" / file.relative_to(tmp_path)
            assert file.read_bytes() == other.read_bytes()


def test_too_many_passages_are_an_error(world: World, tmp_path: Path) -> None:
    with pytest.raises(PedigreeError, match=r"most_passages: .* have \d+ passages, and the bound is 3: name fewer"):
        indexed(world.folder, tmp_path, most=3)


def test_words_of_scripts_without_spaces_are_their_characters() -> None:
    assert words("The Nile-delta, λόγος 42: 河川 abc漢x") == [
        *("the", "nile", "delta", "λόγος", "42", "河", "川", "abc", "漢", "x"),
    ]  # fmt: skip


@given(st.text(alphabet="ab .\n。", max_size=200), st.integers(1, 40))
def test_passages_are_the_text_without_the_space_around_them(text: str, longest: int) -> None:
    found = list(passages("d", text, longest))
    assert all(0 < len(passage.text) <= longest for passage in found)
    assert all(text[passage.start :].startswith(passage.text) for passage in found)
    ends = [0, *(passage.start + len(passage.text) for passage in found)]
    assert all(not text[end : passage.start].strip() for end, passage in zip(ends, found, strict=False))
    assert not text[ends[-1] :].strip()


def test_passages_end_where_the_text_pauses() -> None:
    text = "One two three. Four five six seven.\n\nEight nine ten."
    assert [passage.text for passage in passages("d", text, 40)] == [text[:35], "Eight nine ten."]
    assert [passage.text for passage in passages("d", text[:35], 19)] == ["One two three.", "Four five six", "seven."]


def test_passages_are_read_whole_and_the_least_alike_is_left_out_first(world: World) -> None:
    found = [passage for passage, _ in world.searcher.search("bread dough sugar crust brown", 2)]
    longest = len(found[0].text) + 30
    prompt, read = with_passages(found, "Why?", lambda text: len(text) <= longest)
    assert read == found[:1]
    assert prompt == f"{found[0].text}\n\nWhy?"
    prompt, read = with_passages(found, "Why?", lambda text: len(text) <= 1000)
    assert prompt == f"{found[1].text}\n\n{found[0].text}\n\nWhy?"
    assert with_passages(found, "Why?", lambda text: False) is None
