"""Vocabularies that someone else made: a ``tokenizer.json`` of byte-level BPE, or a file of ranks as tiktoken has them.

Both become a ``tokenizer.json`` of our form with the same ids. A file of ranks has one entry per line, in base64, with
its rank, and no merges. They follow from the ranks: merging the bytes of an entry by rank leaves two entries at last,
and these two are its merge.
"""

import binascii
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

from tokenizers import Tokenizer

from llm_core.errors import PedigreeError
from llm_core.experiment.cleaning import TextForm
from llm_core.experiment.tokens import TokenizerSpec, VocabularyFile
from llm_core.store.digests import source_digest
from llm_core.tokens.byte_level import ByteLevelBPE, is_entry
from llm_core.tokens.literals import why_found_in_texts
from llm_core.tokens.parity import why_not_by_rank
from llm_core.tokens.patterns import PATTERNS

_MOST_BYTES = 256 << 20  # of a file; the largest vocabularies in use have a tenth of it
_IDS = 1 << 31  # ids are below

# Special tokens stand beside the published files, not in them: (pattern, entries) → token → id.
_PUBLISHED = {
    ("gpt2", 50_256): {"<|endoftext|>": 50_256},
    ("cl100k", 100_256): {
        "<|endoftext|>": 100_257,
        "<|fim_prefix|>": 100_258,
        "<|fim_middle|>": 100_259,
        "<|fim_suffix|>": 100_260,
        "<|endofprompt|>": 100_276,
    },
}


def source_digests(tokenizer: TokenizerSpec, form: TextForm | None = None) -> dict[str, str]:  # noqa: ARG001
    """The digests of the files that the tokenizer stage reads from outside the store, by their field in the experiment.

    The plan calls this. So a file that is no vocabulary, or that lacks a token which the experiment names, is an error
    before any document is read.
    """
    files = {f"compare.{name}": vocabulary for name, vocabulary in sorted(tokenizer.compare.items())}
    if tokenizer.imported is not None:
        files["imported"] = tokenizer.imported
    digests = {name: _digest(vocabulary) for name, vocabulary in files.items()}
    for name, vocabulary in files.items():
        read = _opened(vocabulary, digests[name])
        if name == "imported":
            _special_tokens(Path(vocabulary.file), read, tokenizer)
    return digests


@lru_cache(maxsize=16)
def _opened(vocabulary: VocabularyFile, _digest: str) -> ByteLevelBPE:
    """``_entries``, cached by the content of the file."""
    return _entries(vocabulary)[0]


def _digest(vocabulary: VocabularyFile) -> str:
    path = Path(vocabulary.file)
    try:
        return source_digest(path)
    except OSError as error:
        raise PedigreeError(f"{path}: can't be read: {error.strerror or error}") from None


def import_tokenizer(spec: TokenizerSpec) -> ByteLevelBPE:
    """The vocabulary in ``spec.imported`` with ``spec.special_tokens`` and no other special tokens.

    A ``tokenizer.json`` must have those tokens. A file of ranks has no special tokens: they get the ids that were
    published for that vocabulary, or the ids after its last entry. Raises ``PedigreeError`` for a file that is no
    vocabulary.
    """
    assert spec.imported is not None
    path = Path(spec.imported.file)
    read = read_vocabulary(spec.imported)
    return replace(read, special=_special_tokens(path, read, spec))


def _special_tokens(path: Path, read: ByteLevelBPE, spec: TokenizerSpec) -> dict[str, int]:
    """Special token → id, in the order of ``spec``, then the file's unknown token if it needs one.

    Raises ``PedigreeError`` for tokens that can't be special here, and for ids that the experiment has no room for.
    """
    special = _numbered(path, read, spec)
    reason = why_found_in_texts(read, special)
    if reason is not None:
        raise PedigreeError(f"{path}: {reason}")
    ids = list(special.values())
    if read.unknown is not None and read.unknown not in special:
        special[read.unknown] = read.special[read.unknown]
        if special[read.unknown] < ids[0]:
            raise PedigreeError(
                f"tokenizer.special_tokens: the first one ends documents and must have the lowest id; in {path} the "
                f"unknown token {read.unknown!r} has a lower one, {special[read.unknown]}"
            )
    ids = list(special.values())
    if ids[0] != min(ids):
        raise PedigreeError(
            f"tokenizer.special_tokens: the first one ends documents and must have the lowest id; in {path} "
            f"{spec.special_tokens[0]!r} has id {ids[0]}; remove the tokens with lower ids from the list"
        )
    size = max([*read.vocab.values(), *ids, *(token.number for token in read.ordinary.values())]) + 1
    if size > spec.vocab_size:
        raise PedigreeError(f"tokenizer.vocab_size: {spec.vocab_size}, but the ids in {path} go up to {size - 1}")
    return special


def _numbered(path: Path, read: ByteLevelBPE, spec: TokenizerSpec) -> dict[str, int]:
    if read.special:
        missing = [token for token in spec.special_tokens if token not in read.special]
        if missing:
            known = ", ".join(sorted(read.special, key=read.special.__getitem__)[:20])
            raise PedigreeError(f"tokenizer.special_tokens: {path} has no {missing[0]!r}; it has {known}")
        return {token: read.special[token] for token in spec.special_tokens}
    taken = [token for token in spec.special_tokens if is_entry(token, read.vocab)]
    if taken:
        raise PedigreeError(f"tokenizer.special_tokens: {taken[0]!r} is an ordinary entry in {path}; choose another")
    name = next((name for name, pattern in PATTERNS.items() if pattern == read.pattern), "")
    published = _PUBLISHED.get((name, len(read.vocab)), {})
    following = max([*read.vocab.values(), *published.values()]) + 1
    others = [token for token in spec.special_tokens if token not in published]
    numbers = {**published, **{token: following + number for number, token in enumerate(others)}}
    return {token: numbers[token] for token in spec.special_tokens}


def read_vocabulary(vocabulary: VocabularyFile) -> ByteLevelBPE:
    """A vocabulary in either form; raises ``PedigreeError`` for a file that is neither."""
    read, whole = _entries(vocabulary)
    return read if whole else _with_merges(Path(vocabulary.file), read)


def _entries(vocabulary: VocabularyFile) -> tuple[ByteLevelBPE, bool]:
    """(the vocabulary, without merges if the file has none; whether the file has merges)."""
    path = Path(vocabulary.file)
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise PedigreeError(f"{path}: no vocabulary has more than {_MOST_BYTES >> 20} MiB; is it the right file?")
        content = path.read_bytes()
    except OSError as error:
        raise PedigreeError(f"{path}: can't be read: {error.strerror or error}") from None
    if content.lstrip().startswith(b"{"):
        read = ByteLevelBPE.read(path)
        if vocabulary.pattern is not None and PATTERNS[vocabulary.pattern] != read.pattern:
            raise PedigreeError(f"{path}: does not cut text by the pattern {vocabulary.pattern}; leave 'pattern' away")
        _check_whole(path, content, read)
        return read, True
    ranks = _ranks(path, content)
    if vocabulary.pattern is None:
        raise PedigreeError(
            f"{path}: a file of ranks does not say how text is cut; add 'pattern' (cl100k for cl100k_base, gpt2 for "
            "r50k_base)"
        )
    return ByteLevelBPE(ranks, [], {}, PATTERNS[vocabulary.pattern]), False


def _check_whole(path: Path, content: bytes, read: ByteLevelBPE) -> None:
    """Raise if the library can't open the file, reads other ids than it says, or would lose bytes of a text."""
    try:
        opened = Tokenizer.from_buffer(content)
    except Exception as error:  # the library raises nothing narrower
        raise PedigreeError(f"{path}: not a whole tokenizer: {error}") from None
    for token, number in [*read.special.items(), *((token, own.number) for token, own in read.ordinary.items())]:
        if opened.token_to_id(token) != number:
            raise PedigreeError(
                f"{path}: gives its added token {token!r} the id {number}, and HF tokenizers reads "
                f"{opened.token_to_id(token)}: added tokens outside of the vocabulary must follow it without a gap"
            )
    missing = [byte for byte in range(256) if bytes([byte]) not in read.vocab]
    if missing and read.unknown is None:
        raise PedigreeError(
            f"{path}: {len(missing)} byte values are not in the vocabulary (first: {missing[0]}), so texts would lose "
            "them; import another tokenizer"
        )


def _ranks(path: Path, content: bytes) -> dict[bytes, int]:
    """Entry → rank, in the order of ranks."""
    ranks: dict[bytes, int] = {}
    for number, line in enumerate(content.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            written, rank = line.split()
            entry = b64decode(written, validate=True)
            if not 0 <= int(rank) < _IDS or not entry or entry in ranks:
                raise ValueError("the rank is out of range, the entry is empty, or an earlier line has the same entry")
            ranks[entry] = int(rank)
        except (ValueError, binascii.Error) as error:
            raise PedigreeError(
                f"{path}: line {number}: neither a tokenizer.json nor a tiktoken vocabulary (an entry in base64 and "
                f"its rank): {error}"
            ) from None
    missing = [byte for byte in range(256) if bytes([byte]) not in ranks]
    if missing:
        raise PedigreeError(f"{path}: not a tiktoken vocabulary: the byte {missing[0]} is no entry")
    if len(set(ranks.values())) != len(ranks):
        raise PedigreeError(f"{path}: not a tiktoken vocabulary: two entries share a rank")
    return dict(sorted(ranks.items(), key=lambda item: item[1]))


def _with_merges(path: Path, bare: ByteLevelBPE) -> ByteLevelBPE:
    """The vocabulary with the merges that its ranks stand for. Entries that no merge makes only match whole pieces."""
    ranks = bare.vocab
    made = {entry: _merged(entry, ranks) for entry in ranks if len(entry) > 1}
    merges = [(pieces[0], pieces[1]) for pieces in made.values() if len(pieces) == 2]
    read = ByteLevelBPE(ranks, merges, {}, bare.pattern, whole_pieces=len(merges) < len(made))
    reason = why_not_by_rank(read)
    if reason is not None:
        raise PedigreeError(f"{path}: can't be imported with the same ids: {reason}")
    return read


def _merged(entry: bytes, ranks: Mapping[bytes, int]) -> list[bytes]:
    """The last two pieces when the bytes of ``entry`` are merged by rank; more if no merge makes ``entry``."""
    pieces = [entry[place : place + 1] for place in range(len(entry))]
    while len(pieces) > 2:
        joined = [left + right for left, right in pairwise(pieces)]
        best = min(range(len(joined)), key=lambda place: ranks.get(joined[place], _IDS))
        if joined[best] not in ranks:
            break
        pieces[best : best + 2] = [joined[best]]
    return pieces
