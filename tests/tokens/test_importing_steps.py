"""What files of others hold beside vocabulary, merges and one pattern: the ids stay those of the file.

The files are made here: each shows one thing that a published tokenizer has.
"""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from llm_core.errors import PedigreeError
from llm_core.experiment.tokens import TokenizerSpec, VocabularyFile
from llm_core.tokens.byte_lengths import byte_lengths
from llm_core.tokens.byte_level import ByteLevelBPE
from llm_core.tokens.encoders import fastest_encoder
from llm_core.tokens.importing import import_tokenizer, source_digests
from llm_core.tokens.learn import train_tokenizer
from llm_core.tokens.patterns import O200K, PATTERNS
from llm_core.tokens.tokenizer import came_back, end_of_text, learned_entries, load_tokenizer
from tests.tokens.hostile import hostile_sample, hostile_texts

END, USER, THINK, TOOL = "<|endoftext|>", "<|user|>", "<think>", "<tool>"
IN_BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
WITH_REGEX = {**IN_BYTES, "use_regex": True}


def split(pattern: str, **more) -> dict:
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False, **more}


def cutting(*steps: dict) -> dict:
    return {"pre_tokenizer": {"type": "Sequence", "pretokenizers": list(steps)}}


def normalising(*steps: dict) -> dict:
    return {"normalizer": {"type": "Sequence", "normalizers": list(steps)}}


def added(content: str, number: int, **more) -> dict:
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized", "special"), False)
    return {"id": number, "content": content, **flags, **more}


LLAMA = PATTERNS["llama3"]
FILES = {
    "as Qwen 3": {
        "normalizer": {"type": "NFC"},
        **cutting(split(LLAMA.replace("{1,3}", "")), IN_BYTES),
        "more_tokens": [added(THINK, 600), added(TOOL, 601)],
    },
    "as DeepSeek V3": {
        **normalising(),
        **cutting(split(r"\p{N}{1,3}"), split("[\u4e00-\u9fa5\u3040-\u30ff]+"), split(LLAMA), IN_BYTES),
        "more_tokens": [added("<\uff5cUser\uff5c>", 600, normalized=True)],
    },
    "as GPT-4": cutting(split(LLAMA, behavior="Removed", invert=True), IN_BYTES),
    "as GPT-4o": cutting(split(O200K, behavior="Removed", invert=True), IN_BYTES),
    "as SmolLM": cutting({"type": "Digits", "individual_digits": True}, WITH_REGEX),
    "digits in runs": cutting({"type": "Digits", "individual_digits": False}, WITH_REGEX),
    "nothing but forms that change nothing": normalising(
        {"type": "Strip", "strip_left": False, "strip_right": False},
        {"type": "Replace", "pattern": {"String": "x"}, "content": "x"},
        {"type": "Sequence", "normalizers": []},
    ),
    "an unknown token that nothing needs": {"unk_token": END},
}


@pytest.fixture(scope="module")
def trained():
    spec = TokenizerSpec(vocab_size=600, special_tokens=(END, USER))
    return json.loads(train_tokenizer(hostile_sample(800, seed=5), spec).to_str())


def write(path: Path, trained: dict, **changes) -> Path:
    written = json.loads(json.dumps(trained))
    written["model"]["unk_token"] = changes.pop("unk_token", None)
    written["added_tokens"] += changes.pop("more_tokens", [])
    path.write_text(json.dumps({**written, **changes}))
    return path


def spec(path: Path, **options) -> TokenizerSpec:
    options = {"vocab_size": 5000, "special_tokens": (END,), **options}
    return TokenizerSpec(kind="imported", imported=VocabularyFile(file=str(path)), **options)


def their_own(path: Path) -> Tokenizer:
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.encode_special_tokens = True
    return tokenizer


@pytest.fixture(scope="module")
def opened(tmp_path_factory, trained):
    """What the file is like → (its own tokenizer, what shards are encoded with, our file)."""
    found = {}
    for name, changes in FILES.items():
        folder = tmp_path_factory.mktemp("file")
        path = write(folder / "given.json", trained, **changes)
        assert list(source_digests(spec(path))) == ["imported"]
        import_tokenizer(spec(path)).tokenizer().save(str(folder / "tokenizer.json"))
        found[name] = (their_own(path), fastest_encoder(folder / "tokenizer.json"), folder / "tokenizer.json")
    return found


MORE = [
    THINK,
    TOOL,
    "<\uff5cUser\uff5c>",
    "fi>",
    "\ufb01>",
    "\ufb01",
    USER,
    END,
    "<think",
    "\u0338",
    "e\u0301",
    "\u212b",
    "123",
]


@settings(max_examples=50, deadline=None)
@given(texts=st.lists(hostile_texts() | st.lists(st.sampled_from(MORE)).map("".join), min_size=1, max_size=4))
def test_the_ids_are_those_of_the_file(opened, texts):
    for name, (theirs, encoder, path) in opened.items():
        found = encoder.encode_batch(texts)
        expected = [encoding.ids for encoding in theirs.encode_batch(texts, add_special_tokens=False)]
        mine = [ids.tolist() for ids in np.split(found.ids, np.cumsum(found.lengths)[:-1])]
        assert mine == expected, name
        tokenizer = load_tokenizer(path)
        assert end_of_text(tokenizer, path) not in found.ids, name
        for text, ids in zip(texts, mine, strict=True):
            assert came_back(tokenizer, tokenizer.decode(ids, skip_special_tokens=False), text), name


def test_hostile_texts_by_the_hundred(opened):
    texts = hostile_sample(400, seed=6)
    for name, (theirs, encoder, _) in opened.items():
        expected = [encoding.ids for encoding in theirs.encode_batch(texts, add_special_tokens=False)]
        assert encoder.encode_batch(texts).ids.tolist() == [number for ids in expected for number in ids], name


def test_who_encodes(opened):
    """Only files that no step, form or added token sets apart are left to faster encoders."""
    fast = {name for name, (_, encoder, _) in opened.items() if encoder.name != "tokenizers"}
    assert fast == {"as GPT-4", "nothing but forms that change nothing", "an unknown token that nothing needs"}


def test_added_tokens_that_are_not_special_stand_for_their_text(opened):
    _, encoder, path = opened["as Qwen 3"]
    assert encoder.encode_batch([f"a{THINK}"]).ids[-1] == 600
    lengths = byte_lengths(path, 5000)
    assert (lengths[600], lengths[601], lengths[0]) == (len(THINK), len(TOOL), 0)
    assert 600 not in learned_entries(load_tokenizer(path))
    read = ByteLevelBPE.read(path)
    assert read == import_tokenizer(spec(path))  # what we write is what we read
    with pytest.raises(PedigreeError, match=r"vocab_size: 601, but the ids in .* go up to 601"):
        source_digests(spec(path, vocab_size=601))


def test_a_special_token_that_hides_an_added_one_must_be_named(tmp_path, trained):
    """HF tokenizers pass over a special token whole, with what stands inside of it."""
    hiding = f"<|a{THINK}b|>"
    path = write(tmp_path / "given.json", trained, more_tokens=[added(hiding, 600, special=True), added(THINK, 601)])
    with pytest.raises(PedigreeError, match=r"'<think>' can begin inside of its special token .*special_tokens"):
        source_digests(spec(path))
    named = import_tokenizer(spec(path, special_tokens=(END, hiding))).tokenizer()
    text = f"{hiding}x{THINK}"
    assert named.encode(text).ids == their_own(path).encode(text).ids
    assert 601 in named.encode(text).ids


def test_a_special_token_that_is_a_word(tmp_path, trained):
    written = json.loads(json.dumps(trained))
    written["model"]["ignore_merges"] = True
    path = write(tmp_path / "given.json", written, more_tokens=[added("pad", 600, special=True)])
    with pytest.raises(PedigreeError, match="special token 'pad' is an ordinary word"):
        source_digests(spec(path, special_tokens=(END, "pad")))


@pytest.mark.parametrize("merged", [0, -1])
def test_a_special_token_that_merges_lead_to(tmp_path, trained, merged):
    """Without it, the merges would have no entry to lead to; with it, any text may get its id."""
    name = "".join(trained["model"]["merges"][merged])
    own = added(name, trained["model"]["vocab"][name], special=True)
    path = write(tmp_path / "given.json", trained, more_tokens=[own])
    for names in ((END,), (END, name)):
        with pytest.raises(PedigreeError, match=rf"its merges lead to its special token \S{name}\S"):
            source_digests(spec(path, special_tokens=names))


def test_ids_that_the_library_would_not_give(tmp_path, trained):
    path = write(tmp_path / "given.json", trained, more_tokens=[added(THINK, 700)])
    with pytest.raises(PedigreeError, match="'<think>' the id 700, and HF tokenizers reads 600"):
        source_digests(spec(path))


def test_an_unknown_token_comes_back(tmp_path):
    """What we export without all bytes is imported with the same ids, whatever its unknown token is called."""
    own = TokenizerSpec(vocab_size=300, byte_fallback=False, unk_token="[UNK]")
    path = tmp_path / "given.json"
    train_tokenizer(["some words, and more words"] * 9, own).save(str(path))
    made = import_tokenizer(spec(path))
    assert (made.unknown, list(made.special)) == ("[UNK]", [END, "[UNK]"])
    texts = ["some \u6587 words", "[UNK] is text", *hostile_sample(200, seed=7)]
    expected = [encoding.ids for encoding in their_own(path).encode_batch(texts, add_special_tokens=False)]
    assert [encoding.ids for encoding in made.tokenizer().encode_batch(texts, add_special_tokens=False)] == expected
    made.tokenizer().save(str(tmp_path / "tokenizer.json"))
    assert ByteLevelBPE.read(tmp_path / "tokenizer.json") == made
    assert fastest_encoder(tmp_path / "tokenizer.json").name == "tokenizers"
    assert byte_lengths(tmp_path / "tokenizer.json", 300)[1] == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model__unk_token": "<none>"}, "has 'unk_token' set to '<none>', which is none of its special tokens"),
        ({"model__fuse_unk": True}, "has 'fuse_unk' set"),
    ],
)
def test_an_unknown_token_that_can_not_be_kept(tmp_path, changes, message):
    own = TokenizerSpec(vocab_size=300, byte_fallback=False)
    written = json.loads(train_tokenizer(["some words"] * 9, own).to_str())
    for place, value in changes.items():
        written["model"][place.removeprefix("model__")] = value
    (tmp_path / "given.json").write_text(json.dumps(written))
    with pytest.raises(PedigreeError, match=message):
        source_digests(spec(tmp_path / "given.json"))


def test_an_unknown_token_that_stands_before_the_end_of_text(tmp_path):
    own = TokenizerSpec(vocab_size=300, byte_fallback=False, special_tokens=("<|a|>", "<|unk|>", END))
    train_tokenizer(["some words"] * 9, own).save(str(tmp_path / "given.json"))
    with pytest.raises(PedigreeError, match=r"the unknown token '<\|unk\|>' has a lower one, 1"):
        source_digests(spec(tmp_path / "given.json"))
