import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_core.errors import PedigreeError
from llm_core.experiment.tokens import TokenizerSpec
from llm_core.tokens import encoders
from llm_core.tokens.byte_level import ByteLevelBPE
from llm_core.tokens.encoders import GigatokenEncoder, HFEncoder, TiktokenEncoder, fastest_encoder
from llm_core.tokens.learn import train_tokenizer
from llm_core.tokens.parity import has_disputed, why_not_by_rank
from llm_core.tokens.patterns import PATTERNS
from llm_core.tokens.tokenizer import load_tokenizer
from tests.tokens.hostile import hostile_sample, hostile_texts


def save(folder, tokenizer):
    path = folder / "tokenizer.json"
    tokenizer.save(str(path))
    return path


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """Pattern → (the reference, the other encoders) for a tokenizer that is trained on hostile text."""
    texts = hostile_sample(3000, seed=1)
    found = {}
    for pattern in PATTERNS:
        trained = train_tokenizer(texts, TokenizerSpec(vocab_size=1500, pattern=pattern))
        path = save(tmp_path_factory.mktemp(pattern), trained)
        reference = HFEncoder(load_tokenizer(path))
        others = [TiktokenEncoder(path, reference)]
        if pattern != "nanochat":  # gigatoken does not know it
            others.append(GigatokenEncoder(path, reference))
        found[pattern] = (reference, others)
    return found


@pytest.fixture
def path(tmp_path):
    return save(tmp_path, train_tokenizer(["some words, and more words"] * 9, TokenizerSpec(vocab_size=280)))


def same(first, second):
    return np.array_equal(first.ids, second.ids) and np.array_equal(first.lengths, second.lengths)


@settings(max_examples=50, deadline=None)
@given(texts=st.lists(hostile_texts(), max_size=4))
def test_all_encoders_give_the_same_ids(opened, texts):
    for reference, others in opened.values():
        expected = reference.encode_batch(texts)
        assert len(expected.lengths) == len(texts)
        assert expected.lengths.sum() == len(expected.ids)
        for encoder in others:
            found = encoder.encode_batch(texts)
            assert same(found, expected), encoder.name
            assert (found.ids.dtype, found.lengths.dtype) == (np.uint32, np.int64)


def test_they_agree_on_what_every_character_is(tmp_path):
    """Each between letters, digits, blanks and signs, in a vocabulary whose merges show where text is cut."""
    leads, last = [bytes([lead]) for lead in range(0xC2, 0xF5)], [bytes([byte]) for byte in range(0x80, 0xC0)]
    merges = [(sign, lead) for sign in (b"a", b" ", b"1", b".") for lead in leads]
    merges += [(byte, sign) for byte in last for sign in (b"b", b"\n", b"2", b".")]
    entries = [*(bytes([byte]) for byte in range(256)), *(left + right for left, right in merges)]
    vocab = {entry: number for number, entry in enumerate(entries)}
    path = save(tmp_path, ByteLevelBPE(vocab, merges, {}, PATTERNS["llama3"]).tokenizer())
    reference = HFEncoder(load_tokenizer(path))
    # Left out: the inner parts of large scripts, and planes without characters.
    blocks = [(0x80, 0x3500), (0x9F00, 0xAD00), (0xF900, 0x17100), (0x18C00, 0x20010), (0x32300, 0x33500)]
    points = [chr(point) for low, high in blocks for point in range(low, high)]
    pieces = [f"a{point}b {point}\n1{point}2.{point}." for point in points]
    texts = ["".join(pieces[start : start + 16]) for start in range(0, len(pieces), 16)]
    expected = reference.encode_batch(texts)
    for encoder in (TiktokenEncoder(path, reference), GigatokenEncoder(path, reference)):
        assert same(encoder.encode_batch(texts), expected), encoder.name


@pytest.mark.parametrize("text", ["", " " * 1_000_100 + "x", "\n" * 300_000, "a" * 300_000, "\u0301" * 100_000])
def test_long_runs_take_no_time_and_break_nothing(opened, text):
    reference, others = opened["llama3"]
    expected = reference.encode_batch([text, "after"])
    for encoder in others:
        assert same(encoder.encode_batch([text, "after"]), expected), encoder.name


def test_nothing_at_all(opened):
    for reference, others in opened.values():
        for encoder in (reference, *others):
            for texts in ([], [""], ["", ""]):
                found = encoder.encode_batch(texts)
                assert (found.ids.tolist(), found.lengths.tolist()) == ([], [0] * len(texts))


def test_the_fastest_that_is_installed(path, monkeypatch):
    assert fastest_encoder(path).name == "gigatoken"
    assert fastest_encoder(path) is fastest_encoder(path)
    for missing, name in (({"gigatoken"}, "tiktoken"), ({"gigatoken", "tiktoken"}, "tokenizers")):
        encoders._opened.cache_clear()
        monkeypatch.setattr(encoders, "find_spec", lambda package, missing=missing: None if package in missing else 1)
        assert fastest_encoder(path).name == name
    encoders._opened.cache_clear()


def test_an_encoder_that_is_wrong_is_not_taken(path, monkeypatch):
    right = GigatokenEncoder._encode

    def wrong(self, texts):
        found = right(self, texts)
        return found._replace(ids=np.where(found.ids == 261, 262, found.ids))

    monkeypatch.setattr(GigatokenEncoder, "_encode", wrong)
    with pytest.raises(PedigreeError, match="gigatoken gives other ids"):
        GigatokenEncoder(path, HFEncoder(load_tokenizer(path)))
    encoders._opened.cache_clear()
    assert fastest_encoder(path).name == "tiktoken"
    encoders._opened.cache_clear()


def test_a_vocabulary_without_all_bytes_is_for_hf_alone(tmp_path):
    path = save(tmp_path, train_tokenizer(["abc abd"] * 5, TokenizerSpec(vocab_size=300, byte_fallback=False)))
    assert fastest_encoder(path).name == "tokenizers"


def test_a_pattern_that_was_never_compared_is_for_hf_alone(tmp_path):
    """This one gigatoken takes, passes the test at the start with, and cuts some hostile texts by in another way."""
    upper, lower = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
    lead, end = r"[^\r\n\p{L}\p{N}]?", r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    words = f"{lead}{upper}*{lower}+{end}|{lead}{upper}+{lower}*{end}"
    pattern = words + r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    trained = train_tokenizer(hostile_sample(300, seed=5), TokenizerSpec(vocab_size=500))
    read = ByteLevelBPE.read(save(tmp_path, trained))
    path = save(tmp_path, replace(read, pattern=pattern).tokenizer())
    assert fastest_encoder(path).name == "tokenizers"


def test_what_regex_engines_of_different_age_dispute():
    assert not has_disputed("plain, l'été, 文字, 👩‍💻, \U0010ffff")
    assert all(has_disputed(f"plain 文字 {character}.") for character in "\u088f\U00010940\U00010959\U00033479")
    assert not any(has_disputed(f"plain {character}") for character in "\u0890\U0001093f\U0001095a\U0003347a")


def test_encoders_load_late():
    code = "import sys, llm_core.tokens.encoders; print({'tiktoken', 'gigatoken', 'awkward'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def bpe(merges, extra=(), whole_pieces=False, pattern=PATTERNS["llama3"]):
    """A vocabulary of all bytes, what ``merges`` make in their order, and ``extra`` entries behind."""
    entries = dict.fromkeys(
        [*(bytes([byte]) for byte in range(256)), *(left + right for left, right in merges), *extra]
    )
    return ByteLevelBPE({entry: number for number, entry in enumerate(entries)}, merges, {}, pattern, whole_pieces)


@st.composite
def small_bpes(draw):
    """Random merges over three letters: well-ordered or not, with entries that no merge makes, or without."""
    entries, merges = [b"a", b"b", b"c"], []
    for _ in range(draw(st.integers(1, 12))):
        pair = draw(st.sampled_from(entries)), draw(st.sampled_from(entries))
        if pair not in merges and len(pair[0] + pair[1]) < 9:
            merges.append(pair)
            entries.append(pair[0] + pair[1])
    extra = draw(st.lists(st.text("abc", min_size=2, max_size=6).map(str.encode), max_size=2))
    return bpe(merges, extra, draw(st.booleans()))


@settings(max_examples=130, deadline=None)
@given(made=small_bpes(), texts=st.lists(st.text("abc", max_size=25), min_size=1, max_size=5))
def test_where_the_proof_holds_order_of_ids_is_order_of_merges(tmp_path_factory, made, texts):
    if why_not_by_rank(made) is None:
        path = save(tmp_path_factory.mktemp("bpe"), made.tokenizer())
        reference = HFEncoder(load_tokenizer(path))
        assert same(TiktokenEncoder(path, reference).encode_batch(texts), reference.encode_batch(texts))


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (bpe([(b"a", b"b")], pattern=r"\w+|\W+"), "regular expression"),
        (bpe([(b"a", b"b")], extra=[b"cc"]), "an entry, b'cc', that its merges do not lead to"),
        (bpe([(b"a", b"b")], extra=[b"bc"], whole_pieces=True), "an entry, b'bc'"),
        (bpe([(b"a", b"b"), (b"b", b"c"), (b"a", b"bc")]), "an entry, b'abc'"),
        (ByteLevelBPE({b"a": 0, b"b": 1, b"ab": 2}, [(b"a", b"b")], {}, PATTERNS["gpt2"]), "no entry for some bytes"),
    ],
)
def test_where_it_does_not_hold_is_told(tmp_path, made, reason):
    assert reason in why_not_by_rank(made)
    path = save(tmp_path, made.tokenizer())
    with pytest.raises(PedigreeError, match=r"tokenizer\.json: "):
        TiktokenEncoder(path, HFEncoder(load_tokenizer(path)))
    assert fastest_encoder(path).name != "tiktoken"


def test_merges_out_of_order_are_no_ranks():
    merges = [(b"a", b"b"), (b"b", b"c")]
    vocab = {**bpe(merges).vocab, b"ab": 257, b"bc": 256}
    assert "do not ascend" in why_not_by_rank(ByteLevelBPE(vocab, merges, {}, PATTERNS["llama3"]))


def test_whole_pieces_that_no_merge_makes_are_the_same_in_both(tmp_path):
    made = bpe([(b"a", b"b")], extra=[b"ccc"], whole_pieces=True)
    assert why_not_by_rank(made) is None
    path = save(tmp_path, made.tokenizer())
    reference = HFEncoder(load_tokenizer(path))
    texts = ["ccc", "cccc", "ccc ccc", "abccc"]
    assert reference.encode_batch(["ccc"]).ids.tolist() == [257]
    assert same(TiktokenEncoder(path, reference).encode_batch(texts), reference.encode_batch(texts))
