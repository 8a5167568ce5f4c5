import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Regex, pre_tokenizers

from llm_core.errors import PedigreeError
from llm_core.experiment.base import canonical
from llm_core.experiment.tokens import TokenizerSpec
from llm_core.tokens.learn import train_tokenizer
from llm_core.tokens.patterns import PATTERNS
from llm_core.tokens.tokenizer import end_of_text, load_tokenizer, special_tokens, unknown_id

TEXTS = [f"The function returns item {number} of the list, and raises an error otherwise.\n" for number in range(200)]
SPECIAL = ("<|endoftext|>", "<|user|>")


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    train_tokenizer(TEXTS, TokenizerSpec(vocab_size=300, special_tokens=SPECIAL)).save(str(path))
    return path


def test_special_tokens_come_first(path):
    tokenizer = load_tokenizer(path)
    assert [tokenizer.token_to_id(token) for token in SPECIAL] == [0, 1]
    assert end_of_text(tokenizer, path) == 0
    assert tokenizer.get_vocab_size() == 300


@pytest.mark.parametrize(
    "text",
    [
        "<|endoftext|>",
        "a<|endoftext|>b <|user|>",
        "<|endoftext|>" * 100,
        "<|endoftext|",
        "<|ENDOFTEXT|>",
        "\u200b<|endoftext|>\n",
        "<<|endoftext|>|endoftext|>",
    ],
)
def test_special_tokens_in_a_text_stay_text(path, text):
    tokenizer = load_tokenizer(path)
    for ids in (tokenizer.encode(text, add_special_tokens=False).ids, tokenizer.encode_batch_fast([text])[0].ids):
        assert not {0, 1}.intersection(ids)
        assert tokenizer.decode(ids, skip_special_tokens=False) == text


@settings(max_examples=70, deadline=None)
@given(text=st.text(st.characters(exclude_categories=["Cs"])))
def test_every_text_comes_back(path, text):
    tokenizer = load_tokenizer(path)
    assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False).ids, skip_special_tokens=False) == text


def test_patterns_cut_as_the_field_does():
    def pieces(name, text):
        split = pre_tokenizers.Split(Regex(PATTERNS[name]), behavior="isolated")
        return [piece for piece, _ in split.pre_tokenize_str(text)]

    text = "It's  12345 x_y ...\n\n     endDON'T"
    assert pieces("llama3", text) == [
        "It",
        "'s",
        " ",
        " ",
        "123",
        "45",
        " x",
        "_y",
        " ...\n\n",
        "    ",
        " endDON",
        "'T",
    ]
    assert pieces("gpt2", text) == ["It", "'s", " ", " 12345", " x", "_", "y", " ...", "\n\n    ", " endDON", "'", "T"]


def test_without_byte_fallback_unseen_bytes_are_unknown():
    spec = TokenizerSpec(vocab_size=300, byte_fallback=False)
    tokenizer = train_tokenizer(["abc abd"] * 5, spec)
    assert special_tokens(spec) == ["<|endoftext|>", "<|unk|>"]
    assert tokenizer.get_vocab_size() < 30
    assert tokenizer.token_to_id("<|unk|>") in tokenizer.encode("abz").ids
    assert special_tokens(TokenizerSpec(special_tokens=("<|end|>", "<|unk|>"), byte_fallback=False)) == [
        "<|end|>",
        "<|unk|>",
    ]


def test_the_unknown_token_has_the_name_that_is_asked_for():
    spec = TokenizerSpec(vocab_size=300, byte_fallback=False, unk_token="[UNK]")
    tokenizer = train_tokenizer(["abc abd"] * 5, spec)
    assert special_tokens(spec) == ["<|endoftext|>", "[UNK]"]
    assert unknown_id(tokenizer) == tokenizer.token_to_id("[UNK]") == 1
    ids = tokenizer.encode("ab\u00e9", add_special_tokens=False).ids
    assert ids.count(1) == 2, "one for each byte"
    assert tokenizer.encode("[UNK]", add_special_tokens=False).ids.count(1) == 5, "written out it is text, of 5 bytes"
    assert unknown_id(train_tokenizer(["abc"], TokenizerSpec(vocab_size=300))) is None
    with pytest.raises(ValueError, match="with byte_fallback nothing is unknown"):
        TokenizerSpec(unk_token="[UNK]")
    with pytest.raises(ValueError, match="the first special token ends every document"):
        TokenizerSpec(unk_token="[UNK]", special_tokens=("[UNK]",), byte_fallback=False)
    with pytest.raises(ValueError, match=r"unk_token '\[UNK\]': it is one of the special_tokens"):
        TokenizerSpec(unk_token="[UNK]", special_tokens=("<|end|>", "[UNK]"), byte_fallback=False)
    with pytest.raises(ValueError, match="at least 1 character"):
        TokenizerSpec(unk_token="", byte_fallback=False)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_piece_without_end_trains_in_time(pattern):
    text = "a" * 300_000
    started = time.perf_counter()
    tokenizer = train_tokenizer([text, *TEXTS], TokenizerSpec(vocab_size=300, pattern=pattern))
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    assert time.perf_counter() - started < 20  # minutes, were the piece not cut
    assert tokenizer.decode(ids, skip_special_tokens=False) == text
    assert "FixedLength" not in tokenizer.to_str()
    assert max(map(len, tokenizer.get_vocab())) > 50
    assert len(ids) < len(text) / 50


def test_a_special_token_is_not_empty():
    with pytest.raises(ValueError, match="at least 1 character"):
        TokenizerSpec(special_tokens=("<|end|>", ""))


@pytest.mark.parametrize("token", ["END", " END", "ĠEND", "é", "e"])
def test_a_special_token_that_is_an_entry_or_the_name_of_one_is_refused(token):
    """A vocabulary holds names: ``ĠEND`` is that of " END", and ``é`` that of the byte 0xE9."""
    with pytest.raises(PedigreeError, match=rf"tokenizer\.special_tokens: '{token}' is also an ordinary entry"):
        train_tokenizer(["END END END"], TokenizerSpec(vocab_size=300, special_tokens=("<|end|>", token)))
    with pytest.raises(PedigreeError, match=rf"tokenizer\.unk_token: '{token}' is also an ordinary entry"):
        train_tokenizer(["END END END"], TokenizerSpec(vocab_size=300, byte_fallback=False, unk_token=token))


def test_what_is_no_tokenizer_is_named(tmp_path, path):
    torn = tmp_path / "tokenizer.json"
    torn.write_text(path.read_text()[:-100])
    with pytest.raises(PedigreeError, match=r"tokenizer\.json: not a tokenizer"):
        load_tokenizer(torn)
    with pytest.raises(PedigreeError, match=r"nothing\.json: not a tokenizer"):
        load_tokenizer(tmp_path / "nothing.json")
    bare = json.loads(path.read_text())
    bare["added_tokens"] = []
    torn.write_text(json.dumps(bare))
    with pytest.raises(PedigreeError, match="has no special token"):
        end_of_text(load_tokenizer(torn), torn)


def test_what_freezing_may_say():
    assert TokenizerSpec().freeze is False
    assert (
        canonical(TokenizerSpec(freeze=True)) == canonical(TokenizerSpec(freeze="0" * 32)) == canonical(TokenizerSpec())
    )
    for wrong in ("abc", "G" * 32, 1):
        with pytest.raises(ValueError, match="freeze"):
            TokenizerSpec(freeze=wrong)
