"""A few documents about different things, and their index."""

from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import pytest

from llm_core.retrieval.index import Searcher, build
from tests.data.stages import run

TRAIN = {
    "rivers": "A river carries sand and clay from the mountains to the sea. Where it slows, the sand sinks first.",
    "stars": "A star shines because nuclei of hydrogen fuse in its core, and this heat holds up its outer layers.",
}
HELDOUT = {
    "bread": "Bread rises because yeast turns the sugar of the flour into gas that cannot leave the dough.\n\n"
    "The crust turns brown when sugar and protein meet at a heat that the moist crumb never reaches.",
    "bees": "A bee that finds nectar dances on the comb so that the others know the way to the flowers.",
    "locks": "A canal lock lifts a boat by letting in water from above until both sides of a gate are level.",
}


class World(NamedTuple):
    folder: Path
    results: dict[str, Any]
    searcher: Searcher


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("retrieval")
    for split, texts in (
        ("train", TRAIN),
        ("heldout", HELDOUT),
        ("dropped", {"secret": "Nobody may find this zebra."}),
    ):
        (folder / "documents" / split).mkdir(parents=True)
        urls = [f"https://example.org/{name}" if name != "bees" else None for name in texts]
        frame = pl.DataFrame({"doc_id": list(texts), "text": list(texts.values()), "url": urls}).with_columns(
            source=pl.lit("notes"), origin=pl.lit(f"{split}.txt"), row=pl.int_range(pl.len())
        )
        frame.write_parquet(folder / "documents" / split / "00000.parquet")
    results = indexed(folder, folder / "index")
    return World(folder, results, Searcher(folder / "index" / "out"))


def indexed(folder: Path, work: Path, **changes: Any) -> dict[str, Any]:
    options = {"folders": ("train", "heldout"), "longest": 130, "most": 100, "k1": 1.5, "b": 0.75, **changes}
    return run(build, work, {"documents": folder / "documents"}, **options)
