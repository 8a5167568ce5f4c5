import json

import pytest

from llm_core.data.parts import read_parts
from llm_core.errors import PedigreeError
from llm_core.experiment.evaluation import ChecksSpec
from llm_core.experiment.tokens import TokenizerSpec
from llm_core.tokens import train
from llm_core.tokens.sample import sampled_texts
from llm_core.tokens.tokenizer import load_tokenizer
from tests.data.stages import digests, documents, run, write

WORDS = ["return", "value", "list", "item", "error", "raise", "module", "object", "string", "number"]


def texts(start, count):
    return [
        " ".join(WORDS[(number * step) % 10] for step in range(3, 15)) + f" {number}"
        for number in range(start, start + count)
    ]


@pytest.fixture
def split(tmp_path):
    write(tmp_path / "split", documents(texts(0, 150)), documents(texts(150, 150), origin="b"), below="train")
    return write(tmp_path / "split", documents(texts(300, 20)), documents([]), below="heldout")


def test_the_report_says_what_was_measured(tmp_path, split):
    spec = TokenizerSpec(vocab_size=300, special_tokens=("<|end|>", "<|more|>"))
    stats = run(train.build, tmp_path / "job", {"documents": split}, tokenizer=spec)
    out = tmp_path / "job" / "out"
    tokenizer = load_tokenizer(out / "tokenizer.json")
    sample = [text for _, frame in read_parts(split / "train") for text in frame["text"]]
    ids = [number for text in sample for number in tokenizer.encode(text, add_special_tokens=False).ids]
    size = sum(map(len, sample))
    assert stats["vocab_size"] == stats["vocab_size_asked"] == tokenizer.get_vocab_size() == 300
    assert (stats["sample_documents"], stats["sample_bytes"], stats["sample_tokens"]) == (300, size, len(ids))
    assert stats["bytes_per_token"] == size / len(ids)
    assert stats["heldout_bytes_per_token"] == pytest.approx(stats["bytes_per_token"], rel=0.1)
    assert stats["unk_rate"] == 0
    assert stats["learned_entries"] == 300 - 256 - 2
    learned = set(range(258, 300))
    assert stats["unused_entries"] == len(learned - set(ids))
    assert stats["unused_bytes"] == 256 - len({number for number in ids if number < 258})
    report = json.loads((out / "report.json").read_text())
    assert report["special_tokens"] == {"<|end|>": 0, "<|more|>": 1}
    assert " return" in report["longest_entries"]
    assert all(check.passed for check in train.checks(stats, ChecksSpec(max_unused_vocabulary=1)))


def test_it_is_the_same_again(tmp_path, split):
    for name in "ab":
        run(
            train.build,
            tmp_path / name,
            {"documents": split},
            tokenizer=TokenizerSpec(vocab_size=300, sample_bytes=5000),
        )
    assert digests(tmp_path / "a" / "out") == digests(tmp_path / "b" / "out")


def test_a_vocabulary_that_is_not_reached_is_told(tmp_path, split):
    stats = run(train.build, tmp_path / "job", {"documents": split}, tokenizer=TokenizerSpec(vocab_size=50_000))
    assert 260 < stats["vocab_size"] < 2000
    verdict = train.checks(stats, ChecksSpec())[-1]
    assert (verdict.name, verdict.passed) == ("vocabulary_reached", False)
    assert "50000 asked for: the sample has no more" in verdict.message


def test_unknown_entries_are_counted_and_gate(tmp_path, split):
    write(split, documents(["@@@@ QQQQ"]), below="heldout")
    spec = TokenizerSpec(vocab_size=280, byte_fallback=False)
    stats = run(train.build, tmp_path / "job", {"documents": split}, tokenizer=spec)
    assert stats["unk_rate"] == 8 / 9
    verdict = train.checks(stats, ChecksSpec())[0]
    assert (verdict.name, verdict.passed) == ("unk_rate", False)


def test_special_tokens_must_fit(tmp_path, split):
    spec = TokenizerSpec(vocab_size=260, special_tokens=tuple(f"<|{number}|>" for number in range(5)))
    with pytest.raises(PedigreeError, match="make 261 entries, more than 260"):
        run(train.build, tmp_path / "job", {"documents": split}, tokenizer=spec)


def test_the_sample_is_bounded_and_mixes_parts(split):
    for bound in (1, 3000, 10_000, 10**9):
        parts = list(sampled_texts(split / "train", bound))
        size = sum(len(text) for part in parts for text in part)
        assert size <= bound or bound == 1
        assert len(parts) == 2
        if bound == 10_000:
            assert bound - 200 < size
            assert min(len(part) for part in parts) > 30
    assert sum(len(part) for part in sampled_texts(split / "train", 1)) == 1
    assert sum(len(part) for part in parts) == 300
