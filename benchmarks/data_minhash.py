"""MinHash signatures (word 5-grams, 14 bands of 8), ours beside datatrove's, and how many documents each would drop."""

import tempfile
from collections.abc import Iterator

import numpy as np
import polars as pl
from data import Row, megabytes, sample, seconds, table
from datatrove.pipeline.dedup.minhash import MinhashConfig, MinhashDedupSignature
from datatrove.utils.hashing import HashConfig
from xxhash import xxh64_intdigest

from llm_core.data.dedup.signatures import keys
from llm_core.data.kernels.clusters import band_keys, join_band, roots_of
from llm_core.data.kernels.folding import fold
from llm_core.data.kernels.minhash import signatures
from llm_core.experiment.dedup import MinHashSpec

SPEC = MinHashSpec()


class _Split:
    """Words as they stand between spaces, in the place of datatrove's tokenizer."""

    def word_tokenize(self, text: str) -> list[str]:
        return text.split()


def compare(corpora: Iterator[tuple[str, pl.Series]]) -> None:
    rows: list[Row] = []
    drops: list[str] = []
    for corpus, texts in corpora:
        few = sample(texts, 100)
        rows += _beside(corpus, few, cheap=False)
        rows += _beside(corpus, few, cheap=True)
        drops.append(_drops(corpus, texts))
    print("\n## MinHash signatures\n")
    table(rows)
    print("\n| corpus | documents | dropped: ours | datatrove's bands | by both |\n|---|--:|--:|--:|--:|")
    print("\n".join(drops))


def _beside(corpus: str, texts: pl.Series, cheap: bool) -> Iterator[Row]:
    size, theirs = megabytes(texts), _datatrove(cheap)
    taken = seconds(lambda: _ours(texts))
    if not cheap:
        yield Row(corpus, "ours", len(texts), size, taken, "1")
    slow = seconds(lambda: [_signature(theirs, text) for text in texts])
    name = "words by str.split" if cheap else "as shipped"
    yield Row(corpus, f"datatrove, {name}", len(texts), size, slow, f"{slow / taken:.1f}")


def _ours(texts: pl.Series) -> np.ndarray:
    return signatures(fold(texts), SPEC.permutations, SPEC.shingle_words)[0]


def _datatrove(cheap: bool) -> MinhashDedupSignature:
    config = MinhashConfig(
        n_grams=SPEC.shingle_words,
        num_buckets=SPEC.bands,
        hashes_per_bucket=SPEC.rows,
        hash_config=HashConfig(precision=64),
    )
    step = MinhashDedupSignature(tempfile.gettempdir(), config)
    # Its own hash function hands texts to xxhash, which since version 4 takes bytes only.
    step._hash_func = lambda text: xxh64_intdigest(text.encode())
    if cheap:
        step.word_tokenizer = _Split()
    return step


def _signature(step: MinhashDedupSignature, text: str) -> list[list[int]]:
    shingles = step.get_shingles(text)
    return step.get_signature(shingles) if len(shingles) else []


def _drops(corpus: str, texts: pl.Series) -> str:
    """Documents that share a cluster with an earlier one: ours, near or equal; datatrove's, any band in common."""
    folded = fold(texts)
    found, shingles = signatures(folded, SPEC.permutations, SPEC.shingle_words)
    bands = np.empty((SPEC.bands, len(texts)), dtype=np.uint64)
    band_keys(found, SPEC.rows, bands)
    ours = _clusters(bands, found, shingles > 0, round(SPEC.min_similarity * SPEC.permutations))
    _, first = np.unique(keys(folded), return_index=True)
    equal = np.ones(len(texts), dtype=bool)
    equal[first] = False
    step = _datatrove(cheap=True)
    cut = [_signature(step, text) for text in texts]
    theirs = np.zeros((SPEC.bands, len(texts)), dtype=np.uint64)
    for document, own in enumerate(cut):
        theirs[:, document] = [hash(tuple(band)) & 0xFFFFFFFFFFFFFFFF for band in own] or 0
    nothing = np.zeros((len(texts), 1), dtype=np.uint32)
    bands_only = _clusters(theirs, nothing, np.array([len(own) > 0 for own in cut]), 0)
    ours |= equal
    both = int((ours & bands_only).sum())
    return f"| {corpus} | {len(texts):,} | {int(ours.sum())} | {int(bands_only.sum())} | {both} |"


def _clusters(bands: np.ndarray, numbers: np.ndarray, usable: np.ndarray, least: int) -> np.ndarray:
    """Whether each document stands in the cluster of an earlier one."""
    chosen = np.flatnonzero(usable)
    parents = np.arange(len(chosen))
    for band in bands:
        own = np.ascontiguousarray(band[chosen])
        join_band(own, np.argsort(own, kind="stable"), np.ascontiguousarray(numbers[chosen]), parents, least)
    dropped = np.zeros(len(usable), dtype=bool)
    dropped[chosen] = roots_of(parents) != np.arange(len(chosen))
    return dropped


if __name__ == "__main__":
    raise SystemExit("python benchmarks/data.py --only minhash")
