"""Text to token ids: HF tokenizers define the ids, and faster encoders give the same ids.

The choice of encoder can't change a result, so this module is outside the code digest. A faster encoder is used only
for a tokenizer for which its ids are proven to be equal (tiktoken: ``llm_core.tokens.parity.why_not_by_rank``) or are
compared when it is opened (gigatoken). Single texts that it can't encode go to HF tokenizers.

Why tiktoken beside gigatoken? gigatoken is optional, and does not know all patterns. Without either, ``token_shards``
takes 4.1 times the processor time that it takes with tiktoken, and the data pipeline as a whole 1.9 times
(``docs/tokenizers.md``).
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import polars as pl
from tokenizers import Tokenizer

from llm_core.errors import PedigreeError
from llm_core.store.digests import file_digest
from llm_core.tokens.byte_level import ByteLevelBPE
from llm_core.tokens.parity import HOSTILE, has_disputed, why_not_by_rank, why_only_hf
from llm_core.tokens.patterns import PATTERNS
from llm_core.tokens.tokenizer import load_tokenizer

_AT_ONCE = 16  # texts per task of a thread

# gigatoken knows this pattern in its published form only.
_AS_PUBLISHED = {PATTERNS["cl100k"]: PATTERNS["cl100k"].replace("{1,3}", "{1,3}+") + "+"}


class Encoded(NamedTuple):
    """The ids of several texts, concatenated (uint32), and the number of ids of each text (int64)."""

    ids: np.ndarray
    lengths: np.ndarray


class Encoder(Protocol):
    """Turns texts into ids. Reads special tokens that are written in a text as ordinary text."""

    name: str

    def encode_batch(self, texts: Sequence[str]) -> Encoded:
        """The ids of ``texts``, computed with all threads of the process."""


def _joined(pieces: list[np.ndarray]) -> Encoded:
    lengths = np.fromiter(map(len, pieces), dtype=np.int64, count=len(pieces))
    return Encoded(np.concatenate([np.empty(0, np.uint32), *pieces]), lengths)


class HFEncoder:
    """HF tokenizers, which define the ids."""

    name = "tokenizers"

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    def encode_batch(self, texts: Sequence[str]) -> Encoded:
        """See ``Encoder``."""
        encodings = self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        return _joined([np.array(encoding.ids, dtype=np.uint32) for encoding in encodings])


class TiktokenEncoder:
    """tiktoken with the same entries, by id. Raises ``PedigreeError`` for a tokenizer whose ids it may not give."""

    name = "tiktoken"

    def __init__(self, path: Path, reference: Encoder) -> None:
        from tiktoken import Encoding

        bpe = ByteLevelBPE.read(path)
        reason = why_not_by_rank(bpe)
        if reason is not None:
            raise PedigreeError(f"{path}: {reason}")
        self._reference = reference
        self._encoding = Encoding(
            path.name, pat_str=bpe.pattern, mergeable_ranks=dict(bpe.vocab), special_tokens={}, explicit_n_vocab=None
        )

    def encode_batch(self, texts: Sequence[str]) -> Encoded:
        """See ``Encoder``."""
        threads = pl.thread_pool_size()
        if threads == 1 or len(texts) == 1:
            return _joined(self._encode(texts))
        groups = [texts[start : start + _AT_ONCE] for start in range(0, len(texts), _AT_ONCE)]
        with ThreadPoolExecutor(threads) as pool:
            return _joined([piece for pieces in pool.map(self._encode, groups) for piece in pieces])

    def _encode(self, texts: Sequence[str]) -> list[np.ndarray]:
        return [self._encode_one(text) for text in texts]

    def _encode_one(self, text: str) -> np.ndarray:
        try:
            return self._encoding.encode_to_numpy(text, disallowed_special=())
        except ValueError:  # its regex engine fails at a million blanks in a row
            return self._reference.encode_batch([text]).ids


class GigatokenEncoder:
    """gigatoken with the same file, but without its special tokens, which it would find in texts.

    Raises ``PedigreeError`` if it can't read the tokenizer, gives other ids for an entry or a hostile text, or was
    never compared on the tokenizer's pattern.
    """

    name = "gigatoken"

    def __init__(self, path: Path, reference: Encoder) -> None:
        import awkward
        import gigatoken

        bpe = ByteLevelBPE.read(path)
        reason = why_only_hf(bpe)  # some patterns it reads differently only on rare texts, which _verify would miss
        if reason is not None:
            raise PedigreeError(f"{path}: {reason}")
        plain = ByteLevelBPE(bpe.vocab, bpe.merges, {}, _AS_PUBLISHED.get(bpe.pattern, bpe.pattern), bpe.whole_pieces)
        try:
            self._backend: Any = gigatoken.Tokenizer.from_json(plain.tokenizer().to_str())
        except (RuntimeError, ValueError) as error:
            raise PedigreeError(f"{path}: gigatoken can't read it: {str(error).splitlines()[0]}") from None
        self._reference = reference
        self._flatten, self._count = awkward.flatten, awkward.num
        self._verify(path, [*HOSTILE, *_texts(bpe)])

    def _verify(self, path: Path, texts: list[str]) -> None:
        mine, expected = self.encode_batch(texts), self._reference.encode_batch(texts)
        if not (np.array_equal(mine.ids, expected.ids) and np.array_equal(mine.lengths, expected.lengths)):
            raise PedigreeError(f"{path}: gigatoken gives other ids than HF tokenizers")

    def encode_batch(self, texts: Sequence[str]) -> Encoded:
        """See ``Encoder``."""
        disputed = np.array([has_disputed(text) for text in texts], dtype=bool)
        if not disputed.any():
            return self._encode(list(texts))
        usual = self._encode([text for text, other in zip(texts, disputed, strict=True) if not other])
        others = self._reference.encode_batch([text for text, other in zip(texts, disputed, strict=True) if other])
        lengths = np.empty(len(texts), dtype=np.int64)
        lengths[~disputed], lengths[disputed] = usual.lengths, others.lengths
        of_others = np.repeat(disputed, lengths)
        ids = np.empty(len(of_others), dtype=np.uint32)
        ids[~of_others], ids[of_others] = usual.ids, others.ids
        return Encoded(ids, lengths)

    def _encode(self, texts: list[str]) -> Encoded:
        if not texts:
            return _joined([])
        found = self._backend.encode_batch(texts, parallel=pl.thread_pool_size() > 1)
        ids = self._flatten(found).to_numpy().astype(np.uint32, copy=False)
        return Encoded(ids, self._count(found).to_numpy().astype(np.int64, copy=False))


def _texts(bpe: ByteLevelBPE) -> list[str]:
    """The entries that are valid UTF-8, as texts. Together they use nearly every merge."""
    texts = []
    for entry in bpe.vocab:
        try:
            texts.append(entry.decode())
        except UnicodeDecodeError:
            continue
    return texts


_FASTEST_FIRST: dict[str, Callable[[Path, Encoder], Encoder]] = {
    "gigatoken": GigatokenEncoder,
    "tiktoken": TiktokenEncoder,
}


def fastest_encoder(path: Path) -> Encoder:
    """The fastest installed encoder that gives the ids of the ``tokenizer.json`` at ``path``.

    Cached for the process: opening one with a large vocabulary takes up to a second.
    """
    return _opened(_File(file_digest(path), path))


@dataclass(frozen=True)
class _File:
    """A ``tokenizer.json``; two files with the same content are equal."""

    digest: str
    path: Path = field(compare=False)


@lru_cache(maxsize=4)
def _opened(file: _File) -> Encoder:
    path = file.path
    reference = HFEncoder(load_tokenizer(path))
    for package, encoder in _FASTEST_FIRST.items():
        if find_spec(package) is not None:
            try:
                return encoder(path, reference)
            except PedigreeError:  # not a tokenizer for which this encoder gives the same ids
                continue
    return reference
