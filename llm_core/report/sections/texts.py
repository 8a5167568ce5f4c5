"""The sections with texts of documents: what was edited, what stayed, near duplicates, decontamination."""

from collections import Counter
from typing import Any

import polars as pl

from llm_core.data.clean import NORMALISING, REPAIR
from llm_core.data.cleaning_samples import EDITS
from llm_core.graph.job import Job
from llm_core.report import data_plots, facts, read
from llm_core.report.blocks import Block, Card, Cards, Cell, Folded, Marked, Piece, Section, Table, note, text
from llm_core.report.excerpts import kept_samples, side_by_side, texts_of
from llm_core.report.formatting import exact, in_bytes, percent, words
from llm_core.report.read import Inputs
from llm_core.store.manifest import Artifact

LARGEST, PAIRS = 10, 6
POOL = 1000
"""Near duplicates from which pairs are picked: those with the lowest identities."""


def edited(job: Job) -> Section | None:
    """Samples of every kind of edit."""
    kinds = edit_samples(job.inputs)
    how = text(
        "Some of the places that each kind of edit changed: what was ", Marked("removed", "del"), " and what was ",
        Marked("inserted", "ins"), ". White space is shown as single spaces, except for lines that were removed. "
        "Invisible characters are shown by their code points.",
    )  # fmt: skip
    return Section("What was edited", [how, *kinds]) if kinds else None


def edit_samples(inputs: Inputs) -> list[Folded]:
    """Per kind of edit: how often it changed something, and some samples."""
    samples: dict[str, list[Card]] = {}
    for artifact in (inputs[stage] for stage in (read.CLEAN, read.UNIQUE) if stage in inputs):
        for row in facts.json_lines(artifact.path / EDITS):
            pieces = [_piece(visible(piece["text"]), piece["change"]) for piece in row["pieces"]]
            samples.setdefault(row["kind"], []).append(Card(row["source"], pieces, row["doc_id"]))
    return [
        Folded(words(kind), count, [Cards(samples[kind], "wide")])
        for kind, count in _edit_counts(inputs)
        if kind in samples
    ]


def _piece(shown: str, change: str) -> Piece:
    return Marked(shown, change) if change else shown  # type: ignore[arg-type]


def _edit_counts(inputs: Inputs) -> list[tuple[str, str]]:
    clean = read.clean(inputs)
    whole = [(NORMALISING, f"{exact(clean.normalising_changed)} documents, in some of them only white space")]
    if clean.repaired:
        whole.insert(0, (REPAIR, f"{exact(clean.repaired)} documents"))
    redacted = [
        (kind, f"{exact(counts['matches'])} in {exact(counts['documents'])} documents")
        for kind, counts in clean.redactions.items()
    ]
    lines = [
        (kind, f"{exact(counts['lines'])} lines, {in_bytes(counts['bytes'])}") for kind, counts in clean.lines.items()
    ]
    units = read.unique(inputs).repeated_units if read.UNIQUE in inputs else {"units": 0}
    told = f"{exact(units['units'])} in {exact(units['documents'])} documents" if units["units"] else ""
    return [*whole, *redacted, *lines, *([("repeated_units", told)] if told else [])]


def visible(shown: str) -> str:
    """``shown`` with invisible characters replaced by their code points."""
    if shown.isprintable():
        return shown
    return "".join(char if char.isprintable() or char in "\n\t" else f"⟨U+{ord(char):04X}⟩" for char in shown)


def kept(job: Job) -> Section:
    """A sample of the training documents."""
    cards = [excerpt.card() for excerpt in kept_samples(job.inputs[read.SPLIT].path / "train")]
    return Section("What stayed", [text("The beginnings of documents of the training split."), Cards(cards, "wide")])


def duplicates(job: Job) -> Section | None:
    """Sizes of clusters, the largest clusters, and pairs side by side. None without near duplicates.

    Memory is bounded: only some of the clusters are loaded.
    """
    inputs = job.inputs
    if read.UNIQUE not in inputs or not read.unique(inputs).clusters:
        return None
    artifact, results = inputs[read.UNIQUE], read.unique(inputs)
    members = pl.scan_parquet(artifact.path / "clusters.parquet", glob=False)
    heads = members.filter("kept")
    bins: Counter[int] = Counter()
    for size, count in heads.group_by("size").len().collect(engine="streaming").iter_rows():
        bins[int(size).bit_length() - 1] += count
    sizes = {str(place): count for place, count in sorted(bins.items())}
    documents = members.select(pl.len()).collect(engine="streaming").item()
    columns = ("The one that stays", "Sources", "Documents", "Least similarity")
    blocks: list[Block] = [
        text(
            f"Documents in clusters of equal or nearly equal text: {exact(documents)}. Clusters: "
            f"{exact(results.clusters)}, across sources: {exact(results.clusters_across_sources)}. One document of "
            "each cluster stays."
        ),
        data_plots.histogram("cluster_sizes", "Size of clusters", [("clusters", sizes)], "documents", "clusters"),
        Table(columns, _largest(artifact, members), names=2, caption="The largest clusters"),
    ]
    pairs = _pairs(artifact, members)
    if pairs:
        how = "Pairs from the least to the most similar. They begin shortly before their first difference."
        blocks += [note(how), *pairs]
    return Section("Near duplicates", blocks)


def _largest(artifact: Artifact, members: pl.LazyFrame) -> list[tuple[str | Cell, ...]]:
    heads = members.filter("kept").top_k(LARGEST, by=["size", "doc_id"]).collect(engine="streaming")
    heads = heads.sort("size", "doc_id", descending=True)
    named = members.filter(pl.col("cluster").is_in(heads["cluster"].to_list()))
    counted = named.group_by("cluster", "source").agg(pl.len(), pl.col("similarity").min()).collect(engine="streaming")
    texts = texts_of(artifact.path / "parts", heads["doc_id"].to_list())
    rows: list[tuple[str | Cell, ...]] = []
    for cluster, doc_id, size in heads.select("cluster", "doc_id", "size").iter_rows():
        own = counted.filter(pl.col("cluster") == cluster)
        sources = sorted(own.select("source", "len").iter_rows(), key=lambda item: (-item[1], item[0]))
        most = [f"{source} ({exact(count)})" for source, count in sources[:LARGEST]]
        if len(sources) > LARGEST:
            most.append(f"{len(sources) - LARGEST} others")
        beginning = " ".join(texts[doc_id]["text"][:400].split())[:160]
        least = min(own["similarity"].to_list())
        rows.append((Cell(beginning, title=doc_id), ", ".join(most), exact(size), f"{least:.2f}"))
    return rows


def _pairs(artifact: Artifact, members: pl.LazyFrame) -> list[Cards]:
    """Near duplicates, the least similar first, each beside the document that was kept instead."""
    near = members.filter(pl.col("rule") == "near_duplicate").bottom_k(POOL, by="doc_id").collect(engine="streaming")
    if not near.height:
        return []
    near = near.sort("similarity", "doc_id")
    count = min(PAIRS, near.height)
    chosen = near[[round(place * (near.height - 1) / max(count - 1, 1)) for place in range(count)]]
    heads = members.filter("kept", pl.col("cluster").is_in(chosen["cluster"].to_list()))
    staying = dict(heads.select("cluster", "doc_id").collect(engine="streaming").iter_rows())
    gone = texts_of(artifact.path / "dropped", chosen["doc_id"].to_list())
    stays = texts_of(artifact.path / "parts", sorted(staying.values()))
    found = []
    for row in chosen.to_dicts():
        left, right = stays[staying[row["cluster"]]], gone[row["doc_id"]]
        sides = zip(("stays", "dropped"), (left, right), side_by_side(left["text"], right["text"]), strict=True)
        cards = [_side(what, document, pieces) for what, document, pieces in sides]
        found.append(Cards(cards, "sides", f"Similarity {row['similarity']:.2f}"))
    return found


def _side(what: str, document: dict[str, Any], pieces: list[tuple[str, bool]]) -> Card:
    head = f"{what}: {document['source']} · {document['origin']} · row {document['row']}"
    marked = [Marked(piece, "mark") if differs else piece for piece, differs in pieces]
    return Card(head, marked, document["doc_id"])


def decontamination(job: Job) -> Section | None:
    """The findings of decontamination per suite."""
    suites = read.decontaminated(job.inputs).suites if read.DECONTAMINATED in job.inputs else {}
    rows = []
    for name, row in suites.items():
        recall = ", ".join(f"{form} {percent(told['found'] / told['planted'])}" for form, told in row["recall"].items())
        fields = ("items", "texts", "items_too_short", "items_held", "documents")
        rows.append((name, recall, *(exact(row[field]) for field in fields), in_bytes(row["bytes"])))
    how = text(
        "Documents that contain the text of an item of an eval suite are dropped. Samples are under “What was "
        "dropped”. Texts of few words are not searched for, because such sentences occur by chance. Recall: the share "
        "that is found of up to 400 items that were planted in a text, as a question with its answer, as the question "
        "alone, as a quiz or as a list."
    )
    columns = ("Suite", "Recall", "Items", "Texts", "Too short", "Items found", "Documents dropped", "Text")
    return Section("Decontamination", [how, Table(columns, rows, names=2)]) if rows else None
