"""The bytes that ids stand for add up to the text."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models

from llm_core.errors import PedigreeError
from llm_core.experiment.tokens import TokenizerSpec
from llm_core.tokens.byte_lengths import byte_lengths
from llm_core.tokens.learn import train_tokenizer

TEXTS = ["the cat and the hat", "naïve café – 東京 👩🏽"] * 5


@pytest.fixture(scope="module", params=[True, False], ids=["all bytes", "with unknown ones"])
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    more = {} if request.param else {"unk_token": "[UNK]"}
    special = ("<|endoftext|>", "<|user|>")
    spec = TokenizerSpec(vocab_size=300, byte_fallback=request.param, special_tokens=special, **more)
    return train_tokenizer(TEXTS, spec)


@pytest.fixture(scope="module")
def path(tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("made") / "tokenizer.json"
    tokenizer.save(str(path))
    return path


@settings(max_examples=50, deadline=None)
@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=30))
def test_they_add_up_to_the_bytes_of_any_text(tokenizer: Tokenizer, path: Path, text: str) -> None:
    lengths = byte_lengths(path, 1000)
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    assert lengths[ids].sum() == len(text.encode())


def test_special_tokens_and_ids_without_entry_stand_for_nothing(tokenizer: Tokenizer, path: Path) -> None:
    lengths = byte_lengths(path, tokenizer.get_vocab_size() + 3)
    assert (lengths[:2].tolist(), lengths[-3:].tolist()) == ([0, 0], [0, 0, 0])
    unknown = tokenizer.token_to_id("[UNK]")
    assert (lengths == 0).sum() == 5
    assert unknown is None or lengths[unknown] == 1


def test_what_has_no_bytes_per_entry_is_refused(tokenizer: Tokenizer, path: Path, tmp_path: Path) -> None:
    with pytest.raises(PedigreeError, match=r"has the id .*, and the token shards only 50 ids"):
        byte_lengths(path, 50)
    words = tmp_path / "words.json"
    Tokenizer(models.WordLevel({"a": 0}, unk_token="a")).save(str(words))
    with pytest.raises(PedigreeError, match="type WordLevel; only byte-level BPE"):
        byte_lengths(words, 50)
    written = json.loads(path.read_text())
    written["model"]["vocab"]["▁the"] = 299
    words.write_text(json.dumps(written))
    with pytest.raises(PedigreeError, match="not byte-level: the entry '▁the'"):
        byte_lengths(words, 300)
    with pytest.raises(PedigreeError, match=r"gone\.json: can't be read"):
        byte_lengths(tmp_path / "gone.json", 50)
