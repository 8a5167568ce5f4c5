"""Writes the kept and the dropped documents of a part."""

from typing import Any

import numpy as np
import polars as pl

from llm_core.data.cleaning_samples import SHOWN, taken_lines, write_edits
from llm_core.data.dedup.repeated_units import SEPARATORS, without_repeats
from llm_core.data.dedup.signatures import doc_id_texts, read_signatures, sign, write_signatures
from llm_core.data.dedup.verdicts import RULES, VERDICT
from llm_core.data.funnel import funnel_of
from llm_core.data.parquet_parts import DOCUMENT, read_part, write_part
from llm_core.experiment.dedup import MinHashSpec, RepeatedUnitsSpec
from llm_core.graph.part import PartWork
from llm_core.store.parts import link_or_copy

DROPPED = {**DOCUMENT, "rule": pl.String, "value": pl.Float64, "kept_doc_id": pl.String}

_NOTHING = {"documents": 0, "units": 0, "bytes": 0}


def select_part(work: PartWork) -> dict[str, Any]:
    """Write kept documents to ``parts/``, their signatures to ``signatures/``, and the others to ``dropped/``."""
    verdict, signatures = np.load(work.inputs["verdict"]), read_signatures(work.inputs["signatures"])
    if len(verdict):
        return _write(work, read_part(work.inputs["documents"]), signatures, verdict, _sizes(signatures))
    for role, name in (("documents", f"parts/{work.name}.parquet"), ("signatures", f"signatures/{work.name}.npy")):
        (work.out / name).parent.mkdir(parents=True)
        link_or_copy(work.inputs[role], work.out / name)  # nothing is dropped: the same files again
    write_part(work.out / "dropped" / f"{work.name}.parquet", pl.DataFrame(schema=DROPPED))
    sources = read_part(work.inputs["documents"], ["source"])["source"]
    rules = pl.repeat(None, len(sources), dtype=pl.String, eager=True)
    return {"funnel": funnel_of(sources, _sizes(signatures), rules), "repeated_units": _NOTHING}


def select_and_cut_part(work: PartWork, repeated_units: RepeatedUnitsSpec, minhash: MinHashSpec) -> dict[str, Any]:
    """Like ``select_part``, and without repeated units in the kept documents. Signatures are of the new texts."""
    repeats = np.load(work.inputs["repeats"])
    if not len(repeats):
        return select_part(work)
    frame = read_part(work.inputs["documents"])
    signatures = np.array(read_signatures(work.inputs["signatures"]))
    before = _sizes(signatures)
    cut = frame.with_columns(text=without_repeats(frame["text"], repeats, repeated_units.unit))
    changed = np.unique(repeats["document"])
    signatures[changed] = sign(cut[changed], minhash)
    emptied = np.zeros(frame.height, dtype=bool)
    emptied[changed] = signatures["bytes"][changed] == 0
    rows = np.zeros(int(emptied.sum()), dtype=VERDICT)
    rows["place"], rows["rule"] = np.flatnonzero(emptied), RULES.index("repeated_units")
    rows["value"] = np.bincount(repeats["document"], minlength=frame.height)[emptied]
    rows["kept"] = signatures["doc_id"][emptied]
    verdict = np.concatenate([np.load(work.inputs["verdict"]), rows])
    whole = pl.when(pl.Series(emptied)).then(frame["text"]).otherwise("text")  # a dropped document keeps its text
    stats = _write(work, cut.with_columns(text=whole), signatures, verdict[np.argsort(verdict["place"])], before)
    left = ~emptied[changed]
    write_edits(work.out, work.name, _taken(frame, repeats[~emptied[repeats["document"]]], repeated_units.unit))
    gone = int(before.gather(changed[left]).sum()) - int(signatures["bytes"][changed[left]].sum(dtype=np.int64))
    units = int((~emptied[repeats["document"]]).sum())
    return {**stats, "repeated_units": {"documents": int(left.sum()), "units": units, "bytes": gone}}


def _taken(frame: pl.DataFrame, repeats: np.ndarray, unit: str) -> list[dict[str, Any]]:
    """The first unit removed from some of the documents, with the units beside it."""
    changed = np.unique(repeats["document"])
    lowest = np.sort(changed[frame["doc_id"].gather(changed).arg_sort().head(SHOWN).to_numpy()])
    goes = repeats[np.isin(repeats["document"], lowest)]
    rules = pl.DataFrame({"place": np.searchsorted(lowest, goes["document"]), "number": goes["number"]})
    rules = rules.select(pl.all().cast(pl.Int64), rule=pl.lit("repeated_units"))
    shown = frame[lowest]
    units = shown.select(pl.int_range(pl.len()).alias("place"), pl.col("text").str.split(SEPARATORS[unit]))
    units = units.with_columns(number=pl.int_ranges(pl.col("text").list.len())).explode("text", "number")
    return taken_lines(shown, units.join(rules, on=["place", "number"], how="left", maintain_order="left"))


def _write(
    work: PartWork, frame: pl.DataFrame, signatures: np.ndarray, verdict: np.ndarray, before: pl.Series
) -> dict[str, Any]:
    """Write the files of a part. ``verdict``: its dropped documents, in the order of the part."""
    stays = np.ones(frame.height, dtype=bool)
    stays[verdict["place"]] = False
    rules = pl.Series(RULES).gather(verdict["rule"])
    dropped = frame.filter(pl.Series(~stays)).with_columns(
        rule=rules,
        value=pl.Series(verdict["value"]),
        kept_doc_id=pl.Series(doc_id_texts(verdict["kept"]), dtype=pl.String),
    )
    write_part(work.out / "parts" / f"{work.name}.parquet", frame.filter(pl.Series(stays)))
    write_part(work.out / "dropped" / f"{work.name}.parquet", dropped)
    write_signatures(work.out / "signatures" / f"{work.name}.npy", signatures[stays])
    number = np.full(frame.height, len(RULES))
    number[verdict["place"]] = verdict["rule"]
    by_place = pl.Series([*RULES, None], dtype=pl.String).gather(number)
    return {"funnel": funnel_of(frame["source"], before, by_place, _sizes(signatures)), "repeated_units": _NOTHING}


def _sizes(signatures: np.ndarray) -> pl.Series:
    return pl.Series(np.array(signatures["bytes"])).cast(pl.Int64)
