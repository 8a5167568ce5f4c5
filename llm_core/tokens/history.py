"""What each data stage did with one document, from its row in a source to its tokens, or until it was dropped."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from llm_core.data.parquet_parts import part_paths, read_part
from llm_core.data.records import document_id
from llm_core.data.split import SPLITS
from llm_core.errors import PedigreeError
from llm_core.tokens.reader import ShardReader
from llm_core.tokens.tokenizer import came_back, load_tokenizer

RAW, SHARDS, TOKENIZER = "raw_documents", "token_shards", "tokenizer"
JUDGED = "judged_documents"
FILTERS = ("clean_documents", JUDGED, "unique_documents", "decontaminated_documents")
SPLIT = "pretraining_documents"

_FACTS = ("rule", "value", "language", "score", "kept_doc_id", "suite", "item")
_OTHERS_NAMED = 5


class NoDocumentError(PedigreeError):
    """This artifact has no such document; another one may have it."""


@dataclass(frozen=True)
class Station:
    """What one stage did with the document. ``file`` is relative to the stage's artifact."""

    stage: str
    verdict: str
    file: str
    facts: dict[str, Any]


@dataclass(frozen=True)
class History:
    """A document, its origin, and its stations in order. At the last one it was dropped or encoded."""

    doc_id: str
    source: str
    origin: str
    row: int
    url: str | None
    stations: list[Station]


def by_row(raw: Path, source: str, origin: str, row: int) -> str:
    """The identity of the document in that row. ``raw``: the artifact of ``raw_documents``.

    Raises ``PedigreeError`` if there is none; it says why the record was set aside, or that there is no such row.
    """
    identity = document_id(source, origin, row)
    if any(_has(path, pl.col("doc_id") == identity) for path in part_paths(raw / "parts")):
        return identity
    place = (pl.col("source") == source) & (pl.col("origin") == origin)
    for path in sorted((raw / "bad_records").glob("*.parquet")):
        for record in read_part(path).filter(place & (pl.col("row") == row)).to_dicts():
            raise PedigreeError(
                f"{source}/{origin}:{row} was set aside when it was read: {record['reason']}: {record['excerpt']}"
            )
    known = any(_has(path, place) for path in part_paths(raw / "parts"))
    advice = (
        "its rows count from 0" if known else "origins are written as the column 'origin' of the documents has them"
    )
    raise NoDocumentError(f"{source}/{origin}:{row}: no document stands there; {advice}")


def _has(path: Path, which: pl.Expr) -> bool:
    return bool(pl.scan_parquet(path, glob=False).filter(which).head(1).select(pl.len()).collect().item())


def by_token(shards: Path, split: str, token: int) -> str:
    """The identity of the document that has token number ``token`` of a split's stream."""
    documents = pl.scan_parquet(shards / "documents.parquet", glob=False)
    end = pl.col("stream_start") + pl.col("token_end") - pl.col("token_start")
    found = documents.filter(pl.col("split") == split, pl.col("stream_start") <= token, end > token).collect()
    if not found.height:
        raise PedigreeError(f"{shards}: the split {split!r} has no token number {token}")
    return str(found["doc_id"][0])


def history(folders: Mapping[str, Path], doc_id: str) -> History:
    """The stations of the document whose identity starts with ``doc_id``. ``folders``: stage → artifact.

    The history ends before the first stage that is missing. Raises ``PedigreeError`` if no document, or more than one,
    has an identity that starts so.
    """
    part, whole = _locate(folders[RAW] / "parts", doc_id)
    raw = _only(part, whole)
    stations = [Station(RAW, "read", f"parts/{part.name}", _sizes(raw["text"]))]
    text = raw["text"]
    for stage in FILTERS:
        if stage not in folders:
            if stage == JUDGED:  # only experiments with a section ``quality`` have it
                continue
            break
        station, text = _filtered(folders[stage], stage, part.name, whole, text)
        stations.append(station)
        if station.verdict == "dropped":
            break
    else:
        if SPLIT in folders:
            stations.append(_side(folders[SPLIT], part.name, whole))
            if SHARDS in folders and TOKENIZER in folders and stations[-1].verdict in SPLITS:
                stations.append(_encoded(folders[SHARDS], folders[TOKENIZER], whole, text))
    return History(whole, raw["source"], raw["origin"], raw["row"], raw.get("url"), stations)


def _locate(parts: Path, doc_id: str) -> tuple[Path, str]:
    """(the part that holds the document, its whole identity)."""
    found: list[tuple[Path, str]] = []
    for path in part_paths(parts):
        ids = pl.scan_parquet(path, glob=False).select("doc_id").filter(pl.col("doc_id").str.starts_with(doc_id))
        found += [(path, identity) for identity in ids.collect()["doc_id"]]
    if len(found) != 1:
        names = ", ".join(identity for _, identity in found[:_OTHERS_NAMED])
        raise (PedigreeError if found else NoDocumentError)(
            f"{doc_id!r} is the start of {len(found)} documents here"
            + (f": {names}" if found else "; look at its digits")
        )
    return found[0]


def _only(path: Path, doc_id: str) -> dict[str, Any]:
    (row,) = _rows(path, doc_id)
    return row


def _rows(path: Path, doc_id: str) -> list[dict[str, Any]]:
    """The document's row in a part, if it is there."""
    return read_part(path).filter(pl.col("doc_id") == doc_id).to_dicts() if path.is_file() else []


def _filtered(folder: Path, stage: str, part: str, doc_id: str, before: str) -> tuple[Station, str]:
    """(the station of a filtering stage, the document's text after it)."""
    kept = _rows(folder / "parts" / part, doc_id)
    dropped = _rows(folder / "dropped" / part, doc_id)
    if len(kept) + len(dropped) != 1:
        raise PedigreeError(
            f"{folder}: {doc_id} stands in {len(kept)} kept and {len(dropped)} dropped rows of {part}, instead of in "
            "one; was the artifact made from these inputs?"
        )
    (row,) = kept or dropped
    facts = {name: row[name] for name in _FACTS if row.get(name) is not None}
    text = str(row["text"])
    facts |= {"text": "unchanged"} if text == before else {"text": "changed", **_sizes(text)}
    verdict, below = ("kept", "parts") if kept else ("dropped", "dropped")
    return Station(stage, verdict, f"{below}/{part}", facts), text


def _side(folder: Path, part: str, doc_id: str) -> Station:
    """Its split: ``train``, ``heldout``, or ``dropped`` (too similar to a held-out document for training)."""
    found = [(side, row) for side in (*SPLITS, "dropped") for row in _rows(folder / side / part, doc_id)]
    if len(found) != 1:
        raise PedigreeError(f"{folder}: {doc_id} stands on {len(found)} sides of the split, instead of on one")
    ((side, row),) = found
    return Station(SPLIT, side, f"{side}/{part}", {name: row[name] for name in _FACTS if row.get(name) is not None})


def _encoded(shards: Path, tokenizer: Path, doc_id: str, text: str) -> Station:
    """Its range of tokens, decoded and compared with the text that went in."""
    documents = pl.scan_parquet(shards / "documents.parquet", glob=False).filter(pl.col("doc_id") == doc_id).collect()
    (place,) = documents.to_dicts()
    reader = ShardReader(shards, place["split"])
    length = place["token_end"] - place["token_start"]
    ids = reader.read(place["stream_start"], place["stream_start"] + length - 1).tolist()  # without the end of text
    opened = load_tokenizer(tokenizer / "tokenizer.json")
    decoded = opened.decode(ids, skip_special_tokens=False)
    facts = {
        "token_start": place["token_start"],
        "token_end": place["token_end"],
        "stream_start": place["stream_start"],
        "tokens": length,
        "decodes to its text": came_back(opened, decoded, text),
    }
    index = json.loads((shards / "shards.json").read_bytes())
    return Station(SHARDS, "encoded", index["splits"][place["split"]]["shards"][place["shard"]]["file"], facts)


def _sizes(text: str) -> dict[str, int]:
    return {"characters": len(text), "bytes": len(text.encode())}
