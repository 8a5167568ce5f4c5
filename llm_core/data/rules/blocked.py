"""Block lists from files: addresses, and words."""

from functools import lru_cache
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import polars as pl

from llm_core.data.kernels.buffers import to_texts
from llm_core.data.kernels.words import words
from llm_core.errors import PedigreeError
from llm_core.store.digests import stamp

_PRIME = np.uint64(0x9E3779B97F4A7C15)


def entries(path: Path) -> tuple[str, ...]:
    """The lines of a list in lower case, without outer white space and without comments (lines that start with ``#``);
    ``PedigreeError`` for a file that can't be read or holds none.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise PedigreeError(f"{path}: no block list: {error}; give a UTF-8 file with an entry a line") from None
    found = tuple(dict.fromkeys(entry for line in lines if (entry := line.strip().lower()) and entry[0] != "#"))
    if not found:
        raise PedigreeError(f"{path}: the block list holds no entry; fill it, or take it out of the experiment")
    return found


def blocked_urls(column: pl.Series, path: Path) -> pl.Series:
    """Whether each URL (null: no) is on the list: by its host or one above it, or by its address or one above it."""
    listed = _listed(path, tuple(stamp(path)))
    return pl.Series(
        [url is not None and any(place in listed for place in _places(url)) for url in column], dtype=pl.Boolean
    )


@lru_cache(maxsize=1)
def _listed(path: Path, written: tuple[int, ...]) -> frozenset[str]:  # noqa: ARG001 (a list is read again when it changed)
    return frozenset(_bare(entry) for entry in entries(path))


def _bare(entry: str) -> str:
    """Host and path of an entry; scheme and a slash at the end do not count."""
    return entry.partition("://")[2].rstrip("/") if "://" in entry else entry.rstrip("/")


def _places(url: str) -> list[str]:
    """Everything that an entry for ``url`` could say: a.b.c, b.c, c, a.b.c/d, a.b.c/d/e."""
    try:
        parts = urlsplit(url.lower() if "://" in url else f"http://{url.lower()}")
        host = parts.hostname or ""
    except ValueError:
        return []  # no address at all, so none that is listed
    labels = host.split(".")
    hosts = [".".join(labels[start:]) for start in range(len(labels))]
    steps = parts.path.strip("/").split("/") if parts.path.strip("/") else []
    return hosts + [f"{host}/{'/'.join(steps[:count])}" for count in range(1, len(steps) + 1)]


def blocked_words(column: pl.Series, path: Path) -> pl.Series:
    """How often words and phrases of the list occur in each text, whatever their case."""
    found = words(to_texts(column.str.to_lowercase()))
    phrases = _phrases(path, tuple(stamp(path)))
    hits = np.zeros(len(found.hashes) + 1, dtype=np.int64)
    ends = np.repeat(found.bounds[1:], np.diff(found.bounds))
    rolled = np.zeros(len(found.hashes), dtype=np.uint64)
    for length in range(1, max(phrases) + 1):
        count = max(0, len(rolled) - length + 1)
        rolled = rolled[:count] * _PRIME ^ found.hashes[length - 1 : length - 1 + count]
        if length in phrases:
            inside = np.arange(count) + length <= ends[:count]
            hits[:count] += np.isin(rolled, phrases[length]) & inside
    sums = np.concatenate([[0], np.cumsum(hits)])
    return pl.Series(sums[found.bounds[1:]] - sums[found.bounds[:-1]])


@lru_cache(maxsize=1)
def _phrases(path: Path, written: tuple[int, ...]) -> dict[int, np.ndarray]:  # noqa: ARG001 (as above)
    """Number of words → hashes of the phrases of that many words."""
    found = words(to_texts(pl.Series(entries(path))))
    phrases: dict[int, list[np.uint64]] = {}
    for start, stop in zip(found.bounds[:-1], found.bounds[1:], strict=True):
        value = np.zeros(1, dtype=np.uint64)
        for word in range(start, stop):
            value = value * _PRIME ^ found.hashes[word : word + 1]
        phrases.setdefault(int(stop - start), []).append(value[0])
    return {length: np.array(values, dtype=np.uint64) for length, values in phrases.items()}
