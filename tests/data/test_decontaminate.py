import json

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_core.data import decontaminate
from llm_core.data.dedup.signatures import doc_id_texts, read_signatures
from llm_core.data.eval_index import EvalIndex
from llm_core.data.kernels.folding import fold
from llm_core.errors import PedigreeError
from llm_core.experiment.dedup import DecontaminationSpec
from llm_core.experiment.suites import MultipleChoiceSuite, PerplexitySuite
from llm_core.graph.part import InputFile
from tests.data.stages import digests, documents, read, run
from tests.data.test_split import signed
from tests.data.test_unique import prose
from tests.judged import judged

SPEC = DecontaminationSpec()


def suite_of(folder, texts, name="made"):
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return PerplexitySuite(name=name, path=str(path))


def clear(work, folder, *suites, spec=SPEC):
    return run(decontaminate.build, work, {"documents": folder}, decontamination=spec, suites=suites)


def index_of(suite, spec):
    return EvalIndex.of((suite,), spec)


def held(tmp_path, text, item, spec=SPEC):
    """Whether the document ``text`` holds the eval text ``item``."""
    index = index_of(suite_of(tmp_path, [item]), spec)
    return int(index.find(fold(pl.Series([text])))[0][0]) == 0


@pytest.mark.parametrize("blanks", [0, 1, 7, 100_000])
def test_a_document_of_signs_and_blanks_is_searched_within_its_words(tmp_path, blanks):
    """Signs alone are kept as they are, also blanks in a row: every one of them ends a word, if an empty one."""
    assert not held(tmp_path, f"!{' ' * blanks}?", prose(1, 20))


def around(item):
    return f"{prose(100, 50)} {item} {prose(101, 50)}"


def test_documents_that_hold_an_item_go(tmp_path):
    """With what they hold; whatever case, punctuation and line breaks it stands in."""
    items = [prose(1, 40), prose(2, 13), prose(3, 9), prose(4, 7)]
    texts = [
        around(items[0]),
        around(items[1].upper().replace(" ", ",\n")),
        prose(9),
        around(items[2]),
        around(items[3]),
    ]
    folder = signed(tmp_path / "d", documents(texts[:3]), documents(texts[3:], "other"), documents([prose(8)], "third"))
    suites = suite_of(tmp_path, items), suite_of(tmp_path, [prose(7, 30)], "clean")
    stats = clear(tmp_path / "job", folder, *suites)
    out = tmp_path / "job" / "out"
    assert set(read(out / "parts")["text"]) == {texts[2], texts[4], prose(8)}
    dropped = read(out / "dropped")
    assert [tuple(row) for row in dropped.select("source", "suite", "item", "rule", "value").iter_rows()] == [
        ("made", "made", "1", "contaminated", 1.0),
        ("made", "made", "2", "contaminated", 1.0),
        ("other", "made", "3", "contaminated", 1.0),
    ]
    report = json.loads((out / "suites.json").read_text())
    assert report["ngram_words"] == 13
    size = sum(len(text.encode()) for text in (texts[0], texts[1], texts[3]))
    counts = {"items_too_short": 1, "items_held": 3, "documents": 3, "bytes": size}
    counts |= {"recall": {"answered": {"planted": 4, "found": 3}}, "mojibake": 0}
    assert report["suites"][0] == {"suite": "made", "items": 4, "texts": 4, **counts}
    assert (report["suites"][1]["items_held"], report["suites"][1]["documents"]) == (0, 0)
    assert stats["dropped_by_rule"] == {"contaminated": 3}
    assert stats["contaminated_share"] == 0.5
    found = judged("decontaminated_documents", stats)
    assert [check.passed for check in found] == [True, False, True, True]
    assert found[2].message == "at most 25% of a suite's items have too few words to be searched for"
    for path in sorted((out / "parts").iterdir()):
        rows = read_signatures(out / "signatures" / f"{path.stem}.npy")
        assert doc_id_texts(rows["doc_id"]) == pl.read_parquet(path)["doc_id"].to_list()


def test_the_threshold_says_how_much_of_an_item(tmp_path):
    item = prose(1, 52)  # 40 n-grams
    words = item.split()
    half, less = " ".join(words[:32]), " ".join(words[:31])
    assert held(tmp_path, around(half), item)
    assert not held(tmp_path, around(less), item)
    assert held(tmp_path, around(less), item, DecontaminationSpec(threshold=0.4))
    assert held(tmp_path, around(" ".join(words[:13])), item, DecontaminationSpec(threshold=0.001))
    assert not held(tmp_path, around(" ".join(words[:12])), item, DecontaminationSpec(threshold=0.001))


def test_a_long_item_is_held_by_a_passage_of_it(tmp_path):
    item = prose(1, 3000)
    passage = " ".join(item.split()[1000:1062])  # 50 n-grams
    assert held(tmp_path, around(passage), item)
    assert not held(tmp_path, around(" ".join(passage.split()[1:])), item)


def test_repeating_one_run_is_not_holding_many(tmp_path):
    item = prose(1, 40)
    run_of_it = " ".join(item.split()[:13])
    assert not held(tmp_path, (run_of_it + " and ") * 500, item)


def test_short_items_must_stand_whole(tmp_path):
    item = prose(1, 10)
    assert held(tmp_path, around(item), item)
    assert held(tmp_path, item, item)
    assert not held(tmp_path, around(" ".join(item.split()[1:])), item)
    assert not held(tmp_path, around(prose(1, 7)), prose(1, 7))
    assert held(tmp_path, around(prose(1, 7)), prose(1, 7), DecontaminationSpec(min_words=7))


@settings(max_examples=50, deadline=None)
@given(
    text=st.lists(st.sampled_from("abc"), max_size=60).map(" ".join),
    items=st.lists(st.lists(st.sampled_from("abc"), min_size=1, max_size=12).map(" ".join), min_size=1, max_size=6),
    n=st.integers(5, 8),
    threshold=st.floats(0.01, 1),
)
def test_the_kernel_agrees_with_sets_of_ngrams(tmp_path_factory, text, items, n, threshold):
    spec = DecontaminationSpec(ngram_words=n, min_words=3, threshold=threshold)
    index = index_of(suite_of(tmp_path_factory.mktemp("suites"), items), spec)
    found, share, which = index.find(fold(pl.Series([text, prose(1)])))

    def grams(words, size):
        return {tuple(words[start : start + size]) for start in range(len(words) - size + 1)}

    shares = []
    for item in items:
        words = item.split()
        own = grams(words, min(n, len(words))) if len(words) >= 3 else set()
        common = len(own & grams(text.split(), min(n, len(words))))
        shares.append(common / len(own) if common and common >= threshold * len(own) - 1e-9 else 0.0)
    assert which.tolist() == [value > 0 for value in shares]
    assert found.tolist() == [shares.index(max(shares)) if max(shares) else -1, -1]
    assert share[0] == max(shares)


def test_without_suites_the_parts_are_the_same_files(tmp_path):
    folder = signed(tmp_path / "d", documents([prose(1)]), documents([prose(2)], "other"))
    stats = clear(tmp_path / "job", folder)
    out = tmp_path / "job" / "out"
    for name in ("parts/00000.parquet", "signatures/00001.npy"):
        assert (folder / name).stat().st_ino == (out / name).stat().st_ino
    assert (stats["documents"], stats["dropped"], stats["suites"]) == (2, 0, {})
    assert json.loads((out / "suites.json").read_text())["suites"] == []


def test_a_part_is_made_again_when_a_suite_changes(tmp_path):
    """The index counts by what it is made from; so a plan can tell without making it."""
    folder = signed(tmp_path / "d", documents([around(prose(1, 20))]))
    inputs = {"documents": [InputFile(f"{kind}/a.{end}", folder / f"a.{end}", "x") for kind, end in _FILES]}
    keys = []
    for items in ([prose(1, 20)], [prose(2, 20)], [prose(1, 20)]):
        suite = suite_of(tmp_path / str(len(keys)), items)
        keys.append([task.key("code") for task in decontaminate.parts(inputs, SPEC, (suite,))])
        stats = clear(tmp_path / f"job{len(keys)}", folder, suite)
        assert stats["dropped"] == (items == [prose(1, 20)])
    assert keys[0] != keys[1]
    assert keys[0] == keys[2]
    assert digests(tmp_path / "job1" / "out") == digests(tmp_path / "job3" / "out")


_FILES = (("parts", "parquet"), ("signatures", "npy"))


def test_a_question_counts_in_every_rendering(tmp_path):
    query, short = (
        "Which of these is a river that flows through the middle of Paris?",
        "Which river flows through Paris?",
    )
    choices = ["The Elbe", "The Seine", "The river that flows through Berlin and on to the Elbe"]
    path = tmp_path / "questions.jsonl"
    path.write_text("".join(json.dumps({"query": one, "choices": choices, "gold": 1}) + "\n" for one in (query, short)))
    suite = MultipleChoiceSuite(name="questions", path=str(path))
    lettered = "\n".join(f"{letter}) {choice}" for letter, choice in zip("ABC", choices, strict=True))
    held = [
        f"{query} The Seine.",
        f"{query} Nobody knows.",
        f"{query}\n{lettered}\nAnswer: B",
        f"{short}\n{lettered}",
        f"{short} - " + " - ".join(choices),
        f"Somebody said: {choices[2]}.",
    ]
    free = [short, f"{short} The Seine is it", "The Elbe and the Seine"]
    folder = signed(tmp_path / "d", documents([f"{prose(1)} {text} {prose(2)}" for text in (*held, *free)]))
    stats = clear(tmp_path / "job", folder, suite)
    assert (stats["dropped"], stats["documents"]) == (len(held), len(free))


def test_suites_that_can_not_be_found_are_told_of(tmp_path):
    """Decoded wrongly, or in a writing whose words nobody counts."""
    folder = signed(tmp_path / "d", documents([prose(1)]))
    wrong = suite_of(tmp_path / "s", [f"cafÃ© {prose(2)}", f"caf\ufffd {prose(3)}", f"café {prose(4)}"], "wrong")
    unspaced = suite_of(tmp_path / "s", ["这是一个很长的中文句子用来测试去污染功能是否能够找到它们"], "unspaced")
    stats = clear(tmp_path / "job", folder, wrong, unspaced)
    assert stats["suites"]["wrong"]["mojibake"] == 2
    assert stats["suites"]["unspaced"]["items_too_short"] == 1
    failed = {check.name: check.message for check in judged("decontaminated_documents", stats) if not check.passed}
    assert list(failed) == ["eval_items_too_short", "eval_encoding"]
    assert "without spaces has hardly any): 100% of unspaced" in failed["eval_items_too_short"]
    assert "{'wrong': 2}" in failed["eval_encoding"]


def test_many_equal_items_are_all_held(tmp_path):
    items = [prose(1, 20)] * 300 + [prose(2, 9)] * 300
    index = index_of(suite_of(tmp_path, items), SPEC)
    texts = [f"{prose(1, 20)} {prose(1, 20)} {prose(2, 9)}", prose(2, 9), prose(3), ""]
    found, shares, held = index.find(fold(pl.Series(texts)))
    assert (found.tolist(), shares.tolist()) == ([0, 300, -1, -1], [1.0, 1.0, 0.0, 0.0])
    assert held.all()


def test_a_missing_suite_is_told_before_any_work(tmp_path):
    suite = PerplexitySuite(name="gone", path=str(tmp_path / "gone.jsonl"))
    with pytest.raises(PedigreeError, match=r"there is no file .*gone\.jsonl"):
        decontaminate.source_digests(SPEC, (suite,))


def test_hostile_documents(tmp_path):
    item = prose(1, 20)
    texts = ["", "!", "same line\n" * 50_000, "a\u0301" * 3000, f"{item}\u202e", item.replace(" ", "\u2028")]
    folder = signed(tmp_path / "d", documents(texts))
    stats = clear(tmp_path / "job", folder, suite_of(tmp_path, [item, "!!!", "\u0301 \u0301"]))
    assert (stats["documents"], stats["dropped"]) == (4, 2)
