"""Block lists from files: addresses, and words."""

import re
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Literal, NamedTuple
from urllib.parse import urlsplit

import numpy as np
import polars as pl

from llm_core.data.kernels.buffers import to_texts
from llm_core.data.kernels.words import pieces
from llm_core.data.normalise import normalised
from llm_core.errors import PedigreeError
from llm_core.experiment.cleaning import CleaningSpec
from llm_core.store.digests import stamp

_HOST = re.compile(r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*")
_NO_PLACE = re.compile(r"[\s*|^?#]")
_PRIME = np.uint64(0x9E3779B97F4A7C15)


def entries(path: Path) -> tuple[str, ...]:
    """The lines of a list in lower case, without outer white space and comments (lines that start with ``#``). Raises
    ``PedigreeError`` for a file that can't be read or is empty.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise PedigreeError(f"{path}: no block list: {error}; give a UTF-8 file with one entry per line") from None
    found = tuple(dict.fromkeys(entry for line in lines if (entry := line.strip().lower()) and entry[0] != "#"))
    if not found:
        raise PedigreeError(f"{path}: the block list has no entry; fill it, or take it out of the experiment")
    return found


class _Listed(NamedTuple):
    """Hosts, and hosts with paths; the most labels of a host, and the most steps of a path."""

    places: frozenset[str]
    labels: int
    steps: int


def addresses(path: Path) -> _Listed:
    """The entries of a list of addresses. Raises ``PedigreeError`` for an entry that no address can match."""
    listed = [_listed_place(path, entry) for entry in entries(path)]
    labels = max(place.partition("/")[0].count(".") + 1 for place in listed)
    return _Listed(frozenset(listed), labels, max(place.count("/") for place in listed))


def blocked_urls(column: pl.Series, path: Path) -> pl.Series:
    """Whether the list has each URL (null: no): its host or a parent domain, or its path or a parent of the path."""
    listed = _addresses(path, tuple(stamp(path)))
    return pl.Series([url is not None and _is_listed(url, listed) for url in column], dtype=pl.Boolean)


@lru_cache(maxsize=1)
def _addresses(path: Path, written: tuple[int, ...]) -> _Listed:  # noqa: ARG001 (a list is read again when it changed)
    return addresses(path)


def _listed_place(path: Path, entry: str) -> str:
    if _HOST.fullmatch(entry):
        return entry
    host, steps = _place(entry)
    if not host or _NO_PLACE.search(entry):
        raise PedigreeError(
            f"{path}: {entry!r} is no entry of a list of addresses: give a host (which stands for all below it), or a "
            "host and the start of a path, without wildcards and without what follows a ? or #"
        )
    return "/".join([host, *steps])


def _is_listed(url: str, listed: _Listed) -> bool:
    """For a.b.c/d/e: whether a.b.c, b.c, c, a.b.c/d or a.b.c/d/e is listed."""
    host, steps = _place(url.lower(), listed.steps)
    labels = host.split(".")[-listed.labels :]
    return any(".".join(labels[start:]) in listed.places for start in range(len(labels))) or any(
        "/".join([host, *steps[:count]]) in listed.places for count in range(1, len(steps) + 1)
    )


def _place(address: str, most: int = -1) -> tuple[str, list[str]]:
    """(host, first ``most`` steps of the path) of an address in lower case, without scheme and port."""
    try:
        parts = urlsplit(address if "://" in address else f"http://{address}")
        host = (parts.hostname or "").strip(".")
    except ValueError:
        return "", []  # no valid address, so not listed
    if not host.isascii():
        with suppress(UnicodeError):
            host = host.encode("idna").decode("ascii")
    path = parts.path.strip("/")
    return host, path.split("/", most)[: None if most < 0 else most] if path else []


def blocked_words(column: pl.Series, path: Path, cleaning: CleaningSpec) -> pl.Series:
    """The number of words and phrases of the list in each text (in normal form), in any case."""
    found = pieces(to_texts(column.str.to_lowercase()))
    phrases = _phrases(path, tuple(stamp(path)), cleaning.unicode_form, cleaning.plain_quotes)
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
def _phrases(
    path: Path,
    written: tuple[int, ...],  # noqa: ARG001 (as above)
    form: Literal["NFC", "NFKC", "none"],
    plain_quotes: bool | Literal["curly"],
) -> dict[int, np.ndarray]:
    """Number of words → hashes of the phrases with so many words, in the normal form of the texts."""
    listed = normalised(pl.Series(entries(path)), CleaningSpec(unicode_form=form, plain_quotes=plain_quotes))
    found = pieces(to_texts(listed.str.to_lowercase()))
    phrases: dict[int, list[np.uint64]] = {}
    for start, stop in zip(found.bounds[:-1], found.bounds[1:], strict=True):
        value = np.zeros(1, dtype=np.uint64)
        for word in range(start, stop):
            value = value * _PRIME ^ found.hashes[word : word + 1]
        phrases.setdefault(int(stop - start), []).append(value[0])
    return {length: np.array(values, dtype=np.uint64) for length, values in phrases.items()}
