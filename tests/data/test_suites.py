"""Eval suites from files: items, samples, and errors that name file, line and field."""

import gzip
import json
from pathlib import Path

import pytest
import zstandard

from llm_core.data.suites import Item, read_suite, sample_suite, suite_digests, suite_texts
from llm_core.errors import PedigreeError
from llm_core.experiment.load import load_experiment
from llm_core.experiment.suites import LastWordSuite, MinimalPairsSuite, MultipleChoiceSuite, PerplexitySuite, SuiteSpec

PAIR = {"sentence_good": "the dog sleeps .", "sentence_bad": "the dog sleep .", "paradigm": "agreement"}


def written(path: Path, *records: object) -> str:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return str(path)


def texts_of(suite: SuiteSpec) -> list[tuple[str, str]]:
    return list(suite_texts(suite, read_suite(suite)))


def test_minimal_pairs(tmp_path: Path) -> None:
    path = written(tmp_path / "z.jsonl", PAIR)
    assert read_suite(MinimalPairsSuite(name="z", path=path)) == [
        Item("1", "agreement", "", ("the dog sleeps .", "the dog sleep ."), 0)
    ]
    assert texts_of(MinimalPairsSuite(name="z", path=path)) == [
        ("1", "the dog sleeps ."),
        ("1", "the dog sleep ."),
    ]
    assert read_suite(MinimalPairsSuite(name="z", path=path, group=None))[0].group == ""


def test_choices_from_a_list_and_from_fields(tmp_path: Path) -> None:
    listed = written(tmp_path / "a.jsonl", {"query": "Q?", "choices": ["no", "yes", "so"], "gold": 1})
    apart = written(tmp_path / "b.jsonl", {"question": "Q?", "wrong": "no", "right": "yes"})
    suite = MultipleChoiceSuite(name="b", path=apart, query="question", choices=("wrong", "right"), gold="right")
    assert read_suite(MultipleChoiceSuite(name="a", path=listed)) == [Item("1", "", "Q?", ("no", "yes", "so"), 1)]
    assert read_suite(suite) == [Item("1", "", "Q?", ("no", "yes"), 1)]
    # What the model is asked with is no part of the published text.
    asked = suite.model_copy(update={"prefix": "Question: ", "suffix": "\nAnswer:"})
    assert texts_of(asked) == [
        ("1", "Q? yes"),
        ("1", "Q?"),
        ("1", "Q?\nA. no\nB. yes"),
        ("1", "Q?\n1. no\n2. yes"),
        ("1", "Q?\nno\nyes"),
        ("1", "no"),
        ("1", "yes"),
    ]
    with pytest.raises(ValueError, match="gold is 'best', but the choices are"):
        MultipleChoiceSuite(name="b", path=apart, choices=("wrong", "right"), gold="best")


def test_last_words_and_documents(tmp_path: Path) -> None:
    words = written(tmp_path / "l.jsonl", {"context": "He lost his", "continuation": "key"})
    texts = written(tmp_path / "p.jsonl", {"text": "= Title =\n\nA text."})
    assert texts_of(LastWordSuite(name="l", path=words)) == [
        ("1", "He lost his key"),
        ("1", "He lost his"),
        ("1", "key"),
    ]
    assert texts_of(PerplexitySuite(name="p", path=texts)) == [("1", "= Title =\n\nA text.")]


def test_compressed_files_count_lines_as_they_stand(tmp_path: Path) -> None:
    content = b'\n{"text": "one"}\n\n{"text": "two"}'
    (tmp_path / "p.jsonl.gz").write_bytes(gzip.compress(content))
    (tmp_path / "p.jsonl.zst").write_bytes(zstandard.compress(content))
    for suffix in ("gz", "zst"):
        suite = PerplexitySuite(name="p", path=str(tmp_path / f"p.jsonl.{suffix}"))
        assert [(item.item_id, *item.choices) for item in read_suite(suite)] == [("2", "one"), ("4", "two")]
    (tmp_path / "p.jsonl.zst").write_bytes(zstandard.compress(content)[:-3])
    with pytest.raises(PedigreeError, match=r"p\.jsonl\.zst: damaged at byte"):
        read_suite(suite)


def test_a_file_that_unpacks_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llm_core.data.sources.unpacking.FREE_EXPANSION", 1000)
    (tmp_path / "bomb.jsonl.gz").write_bytes(gzip.compress(b"\n" * 1_000_000))
    with pytest.raises(PedigreeError, match=r"bomb\.jsonl\.gz: its first .* bytes unpack to 1,000,000"):
        read_suite(PerplexitySuite(name="p", path=str(tmp_path / "bomb.jsonl.gz")))


def test_a_sample_is_even_and_stays_when_the_file_grows(tmp_path: Path) -> None:
    records = [{**PAIR, "sentence_good": f"{n} dogs sleep .", "paradigm": "abc"[n % 3 and n % 2]} for n in range(90)]
    suite = MinimalPairsSuite(name="z", path=written(tmp_path / "z.jsonl", *records), max_items=30)
    chosen = sample_suite(suite)
    places = [int(item.item_id) for item in chosen]
    assert places == sorted(places)
    assert {group: sum(item.group == group for item in chosen) for group in "ab"} == {"a": 15, "b": 15}
    assert len(sample_suite(suite.model_copy(update={"max_items": None}))) == 90

    written(tmp_path / "z.jsonl", *records, *({**record, "sentence_bad": "x ."} for record in records[:9]))
    kept = {item.choices for item in sample_suite(suite)} & {item.choices for item in chosen}
    assert 24 <= len(kept) < 30


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2: not JSON"),
        ("[" * 100_000, "line 2: not JSON"),
        ("[1]", "line 2: not an object but list"),
        ('{"query": "Q", "choices": ["a", "b"]}', "line 2: there is no field 'gold', only 'query', 'choices'"),
        ('{"query": "Q", "choices": ["a", "b"], "gold": 2}', r"'gold' should be a number from 0 to 1 \(it is 2\)"),
        ('{"query": "Q", "choices": ["a", "b"], "gold": true}', "'gold' should be a number from 0 to 1"),
        ('{"query": "Q", "choices": ["a"], "gold": 0}', "'choices' should be a list of two texts or more"),
        ('{"query": "Q", "choices": ["a", 4], "gold": 0}', r"'choices\[1\]' should be a text \(it is 4\)"),
        ('{"query": " ", "choices": ["a", "b"], "gold": 0}', "'query' should be a text"),
        ('{"query": "\\ud800", "choices": ["a", "b"], "gold": 0}', "'query' has a lone surrogate"),
    ],
)
def test_bad_lines_are_named(tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "q.jsonl").write_text('{"query": "Q", "choices": ["a", "b"], "gold": 0}\n' + line + "\n")
    suite = MultipleChoiceSuite(name="q", path=str(tmp_path / "q.jsonl"))
    for read in (read_suite, lambda one: suite_digests([one])):  # the latter is what a plan asks, before any work
        with pytest.raises(PedigreeError, match=r"q\.jsonl: " + f".*{message}"):
            read(suite)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"text": "café"}\n'.encode("latin-1"), "line 1: not UTF-8: .* at byte 13; convert the file"),
        ('{"text": "one"}\n'.encode("utf-16"), "line 1: not UTF-8"),
        (b'{"text": "one"}\n{"txt": "two"}\n', "line 2: there is no field 'text', only 'txt'"),
        (b"", "has no item"),
        (b"\n \n", "has no item"),
    ],
)
def test_a_plan_tells_of_files_without_items(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "p.jsonl").write_bytes(content)
    suite = PerplexitySuite(name="p", path=str(tmp_path / "p.jsonl"))
    with pytest.raises(PedigreeError, match=rf"p\.jsonl: {message}"):
        suite_digests([suite])
    (tmp_path / "p.jsonl").write_bytes(b'\xef\xbb\xbf{"text": "mended"}\n')
    assert list(suite_digests([suite])) == ["suite p"]


def test_bad_files_are_named(tmp_path: Path) -> None:
    for name, message in (
        ("none.jsonl", "there is no file"),
        ("x.csv", r"is no \.jsonl"),
        ("d.jsonl", "there is no file"),
    ):
        (tmp_path / "d.jsonl").mkdir(exist_ok=True)
        with pytest.raises(PedigreeError, match=message):
            suite_digests([PerplexitySuite(name="p", path=str(tmp_path / name))])


def test_externals_follow_the_content_and_not_the_place(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    here, there = (written(folder / "p.jsonl", {"text": "one"}) for folder in (tmp_path, tmp_path / "there"))
    one, other = (suite_digests([PerplexitySuite(name="p", path=path)]) for path in (here, there))
    assert one == other
    assert list(one) == ["suite p"]
    written(Path(there), {"text": "two"})
    assert suite_digests([PerplexitySuite(name="p", path=there)]) != one


EXPERIMENT = """
model: {d_model: 32, n_layers: 1, mixer: {kind: attention, n_heads: 2}, feed_forward: {kind: relu, d_ff: 64}}
training: {sequence_length: 32, batch_tokens: 128, tokens: 2560, optimizer: {lr: 1e-2}}
evaluation:
  suites: [{kind: perplexity, name: NAME, path: below/p.jsonl}]
"""


def test_paths_start_at_the_experiment(tmp_path: Path) -> None:
    (tmp_path / "some[1]").mkdir()
    (tmp_path / "some[1]" / "base.yaml").write_text(EXPERIMENT.replace("NAME", "p"))
    (tmp_path / "top.yaml").write_text("extends: some[1]/base")
    (suite,) = load_experiment(tmp_path / "top.yaml").evaluation.suites
    assert suite.path == str(tmp_path / "some[1]" / "below" / "p.jsonl")
    (tmp_path / "bad.yaml").write_text(EXPERIMENT.replace("NAME", "heldout"))
    with pytest.raises(PedigreeError, match=r"evaluation\.suites\.0.*can't be called 'heldout'"):
        load_experiment(tmp_path / "bad.yaml")
