"""The stage ``retrieval_index``, and searches in it. The index is made by bm25s (Lù, 2024)."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from llm_core.errors import PedigreeError
from llm_core.extras import missing
from llm_core.graph.job import Job
from llm_core.retrieval.passages import Passage, passages
from llm_core.retrieval.results import RetrievalIndex
from llm_core.retrieval.words import words

PASSAGES, INDEX = "passages.parquet", "bm25"
BATCH = 1024
"""Documents that are cut at once."""


def build(job: Job, folders: Sequence[str], longest: int, most: int, k1: float, b: float) -> RetrievalIndex:
    """Write the passages (``passages.parquet``) and the index of their words (``bm25/``).

    ``folders``: those of the input that hold documents. ``longest``: characters of a passage. ``k1``, ``b``: see
    ``RetrievalSpec``. Raises ``PedigreeError`` for documents without any word, and for more than ``most`` passages.
    """
    bm25s = _bm25s()
    found: list[Passage] = []
    files = [file.path for file in job.files()["documents"] if file.name.split("/")[0] in folders]
    total = sum(pl.scan_parquet(path).select(pl.len()).collect().item() for path in files)
    documents = 0
    for batch in _documents(files):
        for doc_id, text, url, place in batch:
            found += passages(doc_id, text, longest, url, place)
        documents += len(batch)
        job.runtime.progress(documents, total, "documents")
        if len(found) > most:
            raise PedigreeError(
                f"retrieval.most_passages: {documents:,} of the {total:,} documents have {len(found):,} passages, and "
                f"the bound is {most:,}: name fewer documents under retrieval.documents, or raise the bound where the "
                "memory is large enough"
            )
    numbers: dict[str, int] = {}
    ids = [[numbers.setdefault(word, len(numbers)) for word in words(passage.text)] for passage in found]
    if not numbers:
        raise PedigreeError("retrieval: no document has a word")
    index = bm25s.BM25(k1=k1, b=b)
    index.index(bm25s.tokenization.Tokenized(ids=ids, vocab=numbers), show_progress=False)
    index.save(job.out / INDEX, show_progress=False)
    rows = {field: [getattr(passage, field) for passage in found] for field in Passage._fields}
    pl.DataFrame(rows, schema_overrides={"url": pl.String, "place": pl.String}).write_parquet(job.out / PASSAGES)
    return RetrievalIndex(
        documents=documents,
        passages=len(found),
        words=len(numbers),
        mean_characters=sum(len(passage.text) for passage in found) / len(found),
        with_url=sum(passage.url is not None for passage in found),
    )


def _documents(files: Sequence[Path]) -> Iterator[list[tuple[str, str, str | None, str]]]:
    """(doc_id, text, url, place) in batches."""
    place = pl.format("{}/{}:{}", "source", "origin", "row")
    for path in files:
        rows = pl.scan_parquet(path).select("doc_id", "text", "url", place).collect().rows()
        for first in range(0, len(rows), BATCH):
            yield rows[first : first + BATCH]


def _bm25s() -> Any:
    try:
        import bm25s
    except ImportError:
        raise missing("the section retrieval", "bm25s", "retrieve") from None
    return bm25s


class Searcher:
    """Searches in the index of ``folder``. It is read into memory, so the folder may be removed afterwards."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._index = _bm25s().BM25.load(folder / INDEX, show_progress=False)
        self._passages = pl.read_parquet(folder / PASSAGES, memory_map=False)

    def __len__(self) -> int:
        """The number of passages."""
        return len(self._passages)

    def search(self, query: str, count: int) -> list[tuple[Passage, float]]:
        """At most ``count`` passages that share a word with ``query``, with their scores, the best first."""
        # A word counts as often as it stands in the query, and is looked up once: a long query must not take minutes.
        alike: dict[int, list[str]] = defaultdict(list)
        for word, times in Counter(word for word in words(query) if word in self._index.vocab_dict).items():
            alike[times].append(word)
        if not alike:
            return []
        all_scores = sum(times * self._index.get_scores(known) for times, known in alike.items())
        scores, numbers = _bm25s().selection.topk(all_scores, k=min(count, len(self)), backend="numpy")
        return [
            (self.passage(int(number)), float(score))
            for number, score in zip(numbers, scores, strict=True)
            if score > 0
        ]

    def passage(self, number: int) -> Passage:
        """A passage by its number."""
        return Passage(*self._passages.select(Passage._fields).row(number))

    def names(self) -> Sequence[str]:
        """The documents of all passages, in their order."""
        return self._passages["doc_id"].to_list()
