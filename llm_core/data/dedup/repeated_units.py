"""Finds lines or paragraphs that repeat across the corpus, by their hashes, and removes them from the later documents.

Memory: 16 bytes per unit while repeats are searched, then 16 bytes per repeated unit. Hashes have 64 bits: among a
billion different units, two have the same hash with a probability of 0.03; then the later one is taken for a repeat.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from llm_core.data.kernels.buffers import to_texts
from llm_core.data.kernels.unit_hashes import unit_hashes
from llm_core.data.parquet_parts import read_part
from llm_core.experiment.dedup import RepeatedUnitsSpec
from llm_core.graph.part import InputFile, PartWork
from llm_core.store.digests import file_digest

SEPARATORS = {"line": "\n", "paragraph": "\n\n"}

_UNIT = np.dtype([("hash", "<u8"), ("document", "<u4"), ("number", "<u4")])
_PLACE = np.dtype([("document", "<u4"), ("number", "<u4")])


def units_part(work: PartWork, repeated_units: RepeatedUnitsSpec) -> dict[str, Any]:
    """Write ``units/NAME.npy``: hash and place of every unit in the kept documents of a part."""
    frame, dropped = read_part(work.inputs["documents"], ["text"]), np.load(work.inputs["verdict"])["place"]
    texts = to_texts(frame["text"])
    found = unit_hashes(*texts, len(SEPARATORS[repeated_units.unit]), repeated_units.min_bytes)
    rows = np.empty(len(found[0]), dtype=_UNIT)
    rows["hash"], rows["document"], rows["number"] = found
    path = work.out / "units" / f"{work.name}.npy"
    path.parent.mkdir()
    np.save(path, rows[~np.isin(rows["document"], dropped)])
    return {}


def find_repeats(paths: Sequence[Path], ranks: Sequence[np.ndarray], folder: Path) -> list[InputFile]:
    """Per part, a small file with the units to remove: those that occur in an earlier document, or earlier in their
    own.

    ``paths``: the units of every part. ``ranks``: int64, per part the places of its documents in the ranking.
    """
    folder.mkdir(parents=True, exist_ok=True)
    hashes = np.concatenate([np.empty(0, np.uint64), *(np.load(path, mmap_mode="r")["hash"] for path in paths)])
    hashes.sort()
    repeated = np.unique(hashes[1:][hashes[1:] == hashes[:-1]])
    del hashes
    first = np.full(len(repeated), np.iinfo(np.int64).max)
    for path, own in zip(paths, ranks, strict=True):
        units, places = _among(np.load(path), repeated)
        np.minimum.at(first, places, own[units["document"]])
    files = []
    for number, (path, own) in enumerate(zip(paths, ranks, strict=True)):
        units, places = _among(np.load(path), repeated)
        again = np.ones(len(units), dtype=bool)
        again[np.unique(_pairs(units["document"], places), return_index=True)[1]] = (
            False  # the first one in its document
        )
        goes = again | (own[units["document"]] != first[places])
        chosen = np.empty(int(goes.sum()), dtype=_PLACE)
        chosen["document"], chosen["number"] = units["document"][goes], units["number"][goes]
        target = folder / f"{number:06d}.npy"
        np.save(target, chosen)
        files.append(InputFile(target.name, target, file_digest(target)))
    return files


def _among(units: np.ndarray, repeated: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(those of ``units`` that are in ``repeated``, their places there)."""
    places = np.searchsorted(repeated, units["hash"]).clip(max=max(0, len(repeated) - 1))
    chosen = repeated[places] == units["hash"] if len(repeated) else np.zeros(len(units), dtype=bool)
    return units[chosen], places[chosen]


def _pairs(documents: np.ndarray, places: np.ndarray) -> np.ndarray:
    return documents.astype(np.uint64) << np.uint64(40) | places.astype(np.uint64)


def without_repeats(texts: pl.Series, repeats: np.ndarray, unit: str) -> pl.Series:
    """``texts`` without the units at ``repeats`` (document and number, in order); empty if no unit remains."""
    separator = SEPARATORS[unit]
    changed = texts.to_list()
    starts = np.flatnonzero(np.append(True, repeats["document"][1:] != repeats["document"][:-1])[: len(repeats)])
    for own in np.split(repeats, starts[1:]) if len(repeats) else []:
        document, gone = int(own["document"][0]), set(own["number"].tolist())
        units = changed[document].split(separator)
        changed[document] = separator.join(text for number, text in enumerate(units) if number not in gone).strip()
    return pl.Series(texts.name, changed, dtype=pl.String)
