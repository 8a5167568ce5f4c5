import json
from base64 import b64encode
from pathlib import Path

import pytest
import tiktoken
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models

from llm_core.errors import PedigreeError
from llm_core.experiment.tokens import TokenizerSpec, VocabularyFile
from llm_core.tokens import importing
from llm_core.tokens.byte_level import ByteLevelBPE, entry_bytes
from llm_core.tokens.importing import import_tokenizer, read_vocabulary, source_digests
from llm_core.tokens.learn import train_tokenizer
from llm_core.tokens.parity import why_not_by_rank
from llm_core.tokens.patterns import PATTERNS
from llm_core.tokens.tokenizer import end_of_text, load_tokenizer
from tests.tokens.hostile import hostile_sample, hostile_texts

BYTES = [bytes([byte]) for byte in range(256)]


def write_ranks(path: Path, entries: list[bytes]) -> Path:
    lines = [b64encode(entry) + f" {rank}".encode() for rank, entry in enumerate(entries)]
    path.write_bytes(b"\n".join(lines) + b"\n")
    return path


def spec(path, pattern=None, **options):
    vocabulary = VocabularyFile(file=str(path), pattern=pattern)
    return TokenizerSpec(**{"kind": "imported", "imported": vocabulary, "vocab_size": 5000, **options})


@pytest.fixture(scope="module")
def entries():
    """Entries in the order of their ranks, as a published vocabulary has them: bytes first, in an order of its own."""
    texts = [text for text in hostile_sample(3000, seed=2) if len(text) < 100]  # no entries of a thousand bytes
    trained = train_tokenizer(texts, TokenizerSpec(vocab_size=1500, pattern="cl100k"))
    vocab = json.loads(trained.to_str())["model"]["vocab"]
    return [entry_bytes(name) for name, number in sorted(vocab.items(), key=lambda item: item[1]) if number]


@pytest.fixture(scope="module")
def imported(tmp_path_factory, entries):
    path = write_ranks(tmp_path_factory.mktemp("ranks") / "made.tiktoken", entries)
    return import_tokenizer(spec(path, "cl100k")).tokenizer()


@settings(max_examples=70, deadline=None)
@given(text=hostile_texts())
def test_ranks_become_a_tokenizer_with_the_same_ids(imported, entries, text):
    published = PATTERNS["cl100k"].replace("{1,3}", "{1,3}+")
    ranks = {entry: rank for rank, entry in enumerate(entries)}
    expected = tiktoken.Encoding("made", pat_str=published, mergeable_ranks=ranks, special_tokens={})
    assert imported.encode(text, add_special_tokens=False).ids == expected.encode_ordinary(text)
    assert imported.decode(imported.encode(text, add_special_tokens=False).ids, skip_special_tokens=False) == text


@settings(max_examples=70, deadline=None)
@given(
    extra=st.lists(st.text("abc", min_size=2, max_size=7).map(str.encode), max_size=12, unique=True),
    texts=st.lists(st.text("abc ", max_size=20), min_size=1, max_size=4),
)
def test_any_entries_in_any_order(tmp_path_factory, extra, texts):
    """Also those that no merges lead to: tiktoken takes them for whole pieces alone."""
    path = write_ranks(tmp_path_factory.mktemp("ranks") / "made.tiktoken", [*BYTES, *extra])
    read = read_vocabulary(VocabularyFile(file=str(path), pattern="gpt2"))
    assert why_not_by_rank(read) is None
    imported = read.tokenizer()
    ranks = {entry: rank for rank, entry in enumerate([*BYTES, *extra])}
    expected = tiktoken.Encoding("made", pat_str=PATTERNS["gpt2"], mergeable_ranks=ranks, special_tokens={})
    for text in texts:
        assert imported.encode(text, add_special_tokens=False).ids == expected.encode_ordinary(text)


def test_special_tokens_follow_the_ranks(tmp_path, entries):
    path = write_ranks(tmp_path / "made.tiktoken", entries)
    made = import_tokenizer(spec(path, "cl100k", special_tokens=("<|end|>", "<|user|>")))
    assert made.special == {"<|end|>": len(entries), "<|user|>": len(entries) + 1}
    file = tmp_path / "tokenizer.json"
    made.tokenizer().save(str(file))
    tokenizer = load_tokenizer(file)
    assert end_of_text(tokenizer, file) == len(entries)
    assert len(entries) not in tokenizer.encode("<|end|>", add_special_tokens=False).ids
    assert ByteLevelBPE.read(file) == made


def test_published_special_tokens_have_their_published_ids(tmp_path, entries, monkeypatch):
    monkeypatch.setitem(importing._PUBLISHED, ("cl100k", len(entries)), {"<|endoftext|>": 2000, "<|fim|>": 2001})
    path = write_ranks(tmp_path / "made.tiktoken", entries)
    made = import_tokenizer(spec(path, "cl100k", special_tokens=("<|endoftext|>", "<|mine|>")))
    assert made.special == {"<|endoftext|>": 2000, "<|mine|>": 2002}
    assert (made.tokenizer().token_to_id("<|endoftext|>"), made.tokenizer().id_to_token(1999)) == (2000, None)


def test_a_tokenizer_json_keeps_its_ids_and_the_chosen_special_tokens(tmp_path):
    given = ("<|begin|>", "<|end|>", "<|user|>")
    path = tmp_path / "given.json"
    trained = train_tokenizer(hostile_sample(500, seed=3), TokenizerSpec(vocab_size=600, special_tokens=given))
    trained.save(str(path))
    made = import_tokenizer(spec(path, special_tokens=("<|end|>", "<|user|>")))
    assert made.special == {"<|end|>": 1, "<|user|>": 2}
    imported = made.tokenizer()
    for text in hostile_sample(300, seed=4):
        assert imported.encode(text, add_special_tokens=False).ids == trained.encode(text, add_special_tokens=False).ids
    with pytest.raises(PedigreeError, match=r"special_tokens: .* has no '<\|other\|>'; it has <\|begin\|>, <\|end\|>"):
        import_tokenizer(spec(path, special_tokens=("<|other|>",)))
    with pytest.raises(PedigreeError, match=r"must have the lowest id; .* '<\|user\|>' has id 2"):
        import_tokenizer(spec(path, special_tokens=("<|user|>", "<|end|>")))
    with pytest.raises(PedigreeError, match=r"vocab_size: 300, but the ids in .* go up to 599"):
        import_tokenizer(spec(path, special_tokens=("<|end|>",), vocab_size=300))
    with pytest.raises(PedigreeError, match="does not cut text by the pattern gpt2"):
        import_tokenizer(spec(path, "gpt2", special_tokens=("<|end|>",)))


def test_both_written_forms_are_read(tmp_path):
    """Older files write a merge as one string, and GPT-2's leaves the pattern to the step that makes bytes."""
    trained = train_tokenizer(["some words, and more words"] * 9, TokenizerSpec(vocab_size=280, pattern="gpt2"))
    written = json.loads(trained.to_str())
    written["model"]["merges"] = [" ".join(pair) for pair in written["model"]["merges"]]
    written["pre_tokenizer"] = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    (tmp_path / "old.json").write_text(json.dumps(written))
    trained.save(str(tmp_path / "new.json"))
    assert ByteLevelBPE.read(tmp_path / "old.json") == ByteLevelBPE.read(tmp_path / "new.json")


def changed(**changes):
    def change(written):
        for place, value in changes.items():
            *folders, name = place.split("__")
            holder = written
            for folder in folders:
                holder = holder[folder]
            holder[name] = value
        return written

    return change


SPLIT = {"type": "Split", "pattern": {"Regex": "(("}, "behavior": "Isolated", "invert": False}
REMOVING = {**SPLIT, "pattern": {"Regex": "[a-z]+"}, "behavior": "Removed", "invert": True}
DIGITS = {"type": "Digits", "individual_digits": True}
IN_BYTES = {"type": "ByteLevel", "use_regex": False, "add_prefix_space": False, "trim_offsets": True}


def replacing(pattern):
    return {"type": "Replace", "pattern": pattern, "content": "x"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda written: {"some": "json"}, "not a tokenizer.json: KeyError"),
        (lambda written: {**written, "model": "BPE"}, "not a tokenizer.json"),
        (changed(model__type="WordPiece"), "of type WordPiece"),
        (
            changed(normalizer={"type": "Prepend", "prepend": "_"}),
            "has 'normalizer' set to .*Prepend.*; of normalisers only",
        ),
        (
            changed(normalizer={"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "NFKD"}]}),
            "has 'normalizer' set to .*NFKD.*; of normalisers only",
        ),
        (changed(model__dropout=0.1), "has 'dropout' set"),
        (changed(model__byte_fallback=True), "only byte-level BPE .* can be imported"),
        (changed(pre_tokenizer={"type": "Whitespace"}), "cuts text by something else"),
        (changed(pre_tokenizer=None), "cuts text by something else"),
        (
            changed(added_tokens=[{"id": 5000, "content": "<x>", "special": False, "rstrip": True}]),
            "the added token '<x>' has 'rstrip' set",
        ),
        (changed(pre_tokenizer__pretokenizers=[REMOVING, IN_BYTES]), "removes from texts what .* does not match"),
        (changed(pre_tokenizer__pretokenizers=[DIGITS, IN_BYTES]), "cuts text by something else than regular"),
        (changed(model__vocab={"▁the": 0}), "not byte-level"),
        (changed(model__vocab={"a": 0, "b": 0}), "share an id"),
        (changed(model__merges=[["a", "b", "c"]]), "the merge .* is not of two entries"),
        (changed(model__merges=["ab"]), "the merge 'ab' is not of two entries"),
        (lambda written: {**written, "model": {"type": "BPE"}}, "has no 'vocab'"),
        (changed(model__vocab=["a"]), "not a tokenizer.json: 'list' object"),
        (changed(model__vocab={"a": "5"}), "the token id '5' is not a whole number"),
        (changed(model__vocab={"a": -5}), "the token id -5 is not a whole number"),
        (changed(model__merges=None), "not a tokenizer.json: 'NoneType'"),
        (changed(model__merges=[["a", "b"]]), "not a whole tokenizer: .* `ab` out of vocabulary"),
        (changed(added_tokens=["x"]), "the added token x has no 'content'"),
        (changed(added_tokens=[{"content": "x", "special": True}]), "the added token .* has no 'id'"),
        (changed(pre_tokenizer__pretokenizers=5), "not a tokenizer.json: 'int' object is not iterable"),
        (changed(normalizer={"type": "Sequence", "normalizers": 5}), "not a tokenizer.json: 'int' object"),
        *(
            (changed(normalizer=replacing(pattern)), "has 'normalizer' set to .* where there is no character; let its")
            for pattern in ({"Regex": "a*"}, {"Regex": "^"}, {"Regex": "(?=e)"}, {"String": ""})
        ),
        (changed(normalizer=replacing({"Regex": "(("})), "has 'normalizer' set to .*unmatched parenthesis"),
        (
            changed(added_tokens=[{"id": "x", "content": "<|endoftext|>", "special": True}]),
            "the token id .x. is not a whole",
        ),
        (changed(pre_tokenizer={"type": "Sequence"}), "cuts text by something else"),
        (changed(pre_tokenizer__pretokenizers=[SPLIT, IN_BYTES]), "not a whole tokenizer: .*unmatched parenthesis"),
        (
            lambda written: changed(
                model__vocab={name: number for name, number in written["model"]["vocab"].items() if name != "q"}
            )(written),
            "byte values are not in the vocabulary .first: 113., so texts would lose",
        ),
    ],
)
def test_a_tokenizer_that_is_no_byte_level_bpe_is_named(tmp_path, change, message):
    trained = train_tokenizer(["some words"] * 9, TokenizerSpec(vocab_size=265))
    path = tmp_path / "given.json"
    path.write_text(json.dumps(change(json.loads(trained.to_str()))))
    for read in (import_tokenizer, source_digests):  # the latter is what a plan asks, before any work
        with pytest.raises(PedigreeError, match=rf"given\.json: .*{message}"):
            read(spec(path))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x89PNG\r\n\x1a\n\x00\x00", "line 1: neither a tokenizer.json nor a tiktoken vocabulary"),
        (b"", "the byte 0 is no entry"),
        (b"{ not json", "not a tokenizer.json: JSONDecodeError"),
        (b'{"a":' * 100_000, "not a tokenizer.json: RecursionError"),
        (b"Once upon a time", "line 1: neither"),
        (b"YQ== 0\nYQ== 1\n", "line 2: neither"),
        (b"YQ== 0\nYg= 1\n", "line 2: neither"),
        (b"YQ== 0\nYg== -1\n", "line 2: neither"),
        (b"YQ== 0\nYg== one\n", "line 2: neither"),
    ],
)
def test_a_file_that_is_no_tokenizer_is_named(tmp_path, content, message):
    path = tmp_path / "given"
    path.write_bytes(content)
    compared = TokenizerSpec(compare={"other": VocabularyFile(file=str(path), pattern="cl100k")})
    for read, asked in (
        (import_tokenizer, spec(path, "cl100k")),
        (source_digests, spec(path, "cl100k")),
        (source_digests, compared),
    ):
        with pytest.raises(PedigreeError, match=rf"given: .*{message}"):
            read(asked)


def test_what_the_experiment_asks_of_a_vocabulary_is_looked_at_before_any_work(tmp_path):
    path = write_ranks(tmp_path / "given", [*BYTES, b"ab"])
    assert list(source_digests(spec(path, "cl100k"))) == ["imported"]
    with pytest.raises(PedigreeError, match="add 'pattern'"):
        source_digests(spec(path))
    for taken in ("ab", "é"):  # the latter is how the byte 0xE9 is written
        with pytest.raises(PedigreeError, match=f"'{taken}' is an ordinary entry"):
            source_digests(spec(path, "cl100k", special_tokens=(taken,)))
    with pytest.raises(PedigreeError, match=r"vocab_size: 260, but the ids in .* go up to 267"):
        source_digests(spec(path, "cl100k", vocab_size=260, special_tokens=tuple(f"<|{n}|>" for n in range(11))))


def test_two_entries_of_one_rank(tmp_path):
    path = write_ranks(tmp_path / "given", [*BYTES, b"ab"])
    path.write_bytes(path.read_bytes() + b64encode(b"abc") + b" 3\n")
    with pytest.raises(PedigreeError, match="two entries share a rank"):
        import_tokenizer(spec(path, "cl100k"))


def test_what_a_file_of_ranks_does_not_say(tmp_path):
    path = write_ranks(tmp_path / "given", BYTES)
    with pytest.raises(PedigreeError, match="does not say how text is cut; add 'pattern'"):
        import_tokenizer(spec(path))
    with pytest.raises(PedigreeError, match="'a' is an ordinary entry"):
        import_tokenizer(spec(path, "cl100k", special_tokens=("a",)))


def test_files_that_are_not_there_or_not_files(tmp_path):
    for path in (tmp_path / "nothing", tmp_path):
        with pytest.raises(PedigreeError, match="can't be read"):
            import_tokenizer(spec(path))
        with pytest.raises(PedigreeError, match="can't be read"):
            source_digests(spec(path))


def test_files_count_by_content(tmp_path, monkeypatch):
    monkeypatch.setenv("PEDIGREE_HOME", str(tmp_path / "home"))
    one, other = write_ranks(tmp_path / "one", BYTES), write_ranks(tmp_path / "other", BYTES)
    compared = {"gpt4": VocabularyFile(file=str(other), pattern="cl100k")}
    found = source_digests(spec(one, "cl100k", compare=compared))
    assert sorted(found) == ["compare.gpt4", "imported"]
    assert found["imported"] == found["compare.gpt4"]
    write_ranks(one, [*BYTES, b"ab"])
    assert source_digests(spec(one, "cl100k", compare=compared))["imported"] != found["imported"]
    assert source_digests(TokenizerSpec()) == {}


def test_tokenizers_of_other_kinds_are_not_imported(tmp_path):
    Tokenizer(models.WordLevel({"a": 0}, unk_token="a")).save(str(tmp_path / "given.json"))
    with pytest.raises(PedigreeError, match="of type WordLevel; only byte-level BPE"):
        import_tokenizer(spec(tmp_path / "given.json"))
