import json

import pytest

from llm_core.data.parquet_parts import read_parts
from llm_core.errors import PedigreeError
from llm_core.experiment.cleaning import TextForm
from llm_core.experiment.tokens import TokenizerSpec, VocabularyFile
from llm_core.graph.job import artifact_files
from llm_core.tokens import train
from llm_core.tokens.tokenizer import load_tokenizer
from tests.data.stages import artifact, digests, documents, run, write
from tests.judged import judged

WORDS = ["return", "value", "list", "item", "error", "raise", "module", "object", "string", "number"]


def texts(start, count):
    return [
        " ".join(WORDS[(number * step) % 10] for step in range(3, 15)) + f" {number}"
        for number in range(start, start + count)
    ]


@pytest.fixture
def split(tmp_path):
    write(tmp_path / "split", documents(texts(0, 150)), documents(texts(150, 150), origin="b"), below="train")
    others = documents(["Ünïcödé tëxt"] * 5, source="books")
    return write(tmp_path / "split", documents(texts(300, 20)), documents([]), others, below="heldout")


def test_the_report_says_what_was_measured(tmp_path, split):
    spec = TokenizerSpec(vocab_size=300, special_tokens=("<|end|>", "<|more|>"))
    stats = run(train.build, tmp_path / "job", {"documents": split}, tokenizer=spec, form=TextForm())
    out = tmp_path / "job" / "out"
    tokenizer = load_tokenizer(out / "tokenizer.json")

    def ratio(own):
        ids = [tokenizer.encode(text, add_special_tokens=False).ids for text in own]
        return sum(len(text.encode()) for text in own) / sum(map(len, ids))

    sample = [text for _, frame in read_parts(split / "train") for text in frame["text"]]
    heldout = {"books": ["Ünïcödé tëxt"] * 5, "made": texts(300, 20)}
    assert stats["vocab_size"] == stats["vocab_size_asked"] == tokenizer.get_vocab_size() == 300
    assert (stats["sample_documents"], stats["sample_bytes"]) == (300, sum(map(len, sample)))
    assert stats["bytes_per_token"] == ratio(sample)
    assert stats["heldout_bytes_per_token"] == ratio([*heldout["books"], *heldout["made"]])
    assert stats["heldout_documents"] == 25
    assert stats["unk_rate"] == 0
    assert stats["learned_entries"] == 300 - 256 - 2
    report = json.loads((out / "report.json").read_text())
    assert report["vocabularies"] == [
        {
            "name": "this one",
            "vocab_size": 300,
            "bytes_per_token": stats["heldout_bytes_per_token"],
            "by_source": {source: ratio(own) for source, own in heldout.items()},
        }
    ]
    assert report["special_tokens"] == {"<|end|>": 0, "<|more|>": 1}
    assert " return" in report["longest_entries"]
    assert all(check.passed for check in judged("tokenizer", stats))


def test_it_is_the_same_again(tmp_path, split):
    spec = TokenizerSpec(vocab_size=300, sample_bytes=5000)
    for name in "ab":
        run(train.build, tmp_path / name, {"documents": split}, tokenizer=spec, form=TextForm())
    assert digests(tmp_path / "a" / "out") == digests(tmp_path / "b" / "out")


def test_other_vocabularies_are_measured_on_the_same_texts(tmp_path, split):
    run(train.build, tmp_path / "one", {"documents": split}, tokenizer=TokenizerSpec(vocab_size=300), form=TextForm())
    made = VocabularyFile(file=str(tmp_path / "one" / "out" / "tokenizer.json"))
    spec = TokenizerSpec(vocab_size=280, compare={"larger": made})
    run(train.build, tmp_path / "two", {"documents": split}, tokenizer=spec, form=TextForm())
    first, second = (
        json.loads((tmp_path / name / "out" / "report.json").read_text())["vocabularies"] for name in ("one", "two")
    )
    assert [row["name"] for row in second] == ["this one", "larger"]
    assert second[1] == {**first[0], "name": "larger"}
    assert second[0]["bytes_per_token"] < second[1]["bytes_per_token"]


def test_an_imported_tokenizer_gives_the_ids_of_its_file(tmp_path, split):
    given = TokenizerSpec(vocab_size=290, special_tokens=("<|end|>", "<|more|>"))
    run(train.build, tmp_path / "one", {"documents": split}, tokenizer=given, form=TextForm())
    file = tmp_path / "one" / "out" / "tokenizer.json"
    spec = TokenizerSpec(
        kind="imported", imported=VocabularyFile(file=str(file)), vocab_size=320, special_tokens=("<|end|>",)
    )
    stats = run(train.build, tmp_path / "two", {"documents": split}, tokenizer=spec, form=TextForm())
    theirs, ours = load_tokenizer(file), load_tokenizer(tmp_path / "two" / "out" / "tokenizer.json")
    for text in texts(500, 20):
        assert theirs.encode(text, add_special_tokens=False).ids == ours.encode(text, add_special_tokens=False).ids
    assert (stats["vocab_size"], stats["vocab_size_asked"], stats["sample_bytes"]) == (290, 320, 0)
    assert all(check.passed for check in judged("tokenizer", stats))


def test_a_vocabulary_that_is_not_reached_is_told(tmp_path, split):
    stats = run(
        train.build, tmp_path / "job", {"documents": split}, tokenizer=TokenizerSpec(vocab_size=50_000), form=TextForm()
    )
    assert 260 < stats["vocab_size"] < 2000
    verdict = judged("tokenizer", stats)[-1]
    assert (verdict.name, verdict.passed) == ("vocabulary_reached", False)
    assert "50000 asked for: the sample has no more" in verdict.message


def test_unknown_entries_are_counted_and_gate(tmp_path, split):
    write(split, documents(["@@@@ QQQQ"]), documents([]), documents([]), below="heldout")
    spec = TokenizerSpec(vocab_size=280, byte_fallback=False)
    stats = run(train.build, tmp_path / "job", {"documents": split}, tokenizer=spec, form=TextForm())
    assert stats["unk_rate"] == 8 / 9
    verdict = judged("tokenizer", stats)[0]
    assert (verdict.name, verdict.passed) == ("unk_rate", False)


def test_special_tokens_must_fit(tmp_path, split):
    spec = TokenizerSpec(vocab_size=260, special_tokens=tuple(f"<|{number}|>" for number in range(5)))
    with pytest.raises(PedigreeError, match="make 261 entries, more than 260"):
        run(train.build, tmp_path / "job", {"documents": split}, tokenizer=spec, form=TextForm())


def test_a_split_without_text_is_an_error(tmp_path):
    write(tmp_path / "split", documents([]), below="train")
    with pytest.raises(PedigreeError, match="the training split has no documents"):
        run(
            train.build, tmp_path / "job", {"documents": tmp_path / "split"}, tokenizer=TokenizerSpec(), form=TextForm()
        )


def test_a_plan_counts_the_parts_of_both_splits(split):
    files = {"documents": artifact_files(artifact(split))}
    assert [task.name for task in train.parts(files, TokenizerSpec(), TextForm())] == [
        "train-00000",
        "train-00001",
        "heldout-00000",
        "heldout-00001",
        "heldout-00002",
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [({"kind": "imported"}, "say which file"), ({"imported": VocabularyFile(file="x")}, "say kind: imported")],
)
def test_kind_and_file_belong_together(options, message):
    with pytest.raises(ValueError, match=message):
        TokenizerSpec(**options)
