"""The sections about how many documents and how much text every stage leaves: of the training report a summary, of the
data report all of it."""

from llm_core.graph.job import Job
from llm_core.report import data_plots, facts, read, training_plots
from llm_core.report.blocks import Block, Facts, Pair, Row, Section, Table, Tile, Tiles, note, text, warning
from llm_core.report.facts import Level
from llm_core.report.formatting import NONE, exact, in_bytes, percent, share, short, words
from llm_core.report.read import Inputs
from llm_core.report.sections.scores import failures
from llm_core.report.style import Picture

LANGUAGES = 7
DROPPED = {
    read.CLEAN: "Dropped by rules",
    read.JUDGED: "Of low quality",
    read.UNIQUE: "Repeats",
    read.DECONTAMINATED: "Contaminated",
}
"""Stage → the tile of what it drops."""


def documents(job: Job) -> Section:
    """The summary."""
    inputs = job.inputs
    stages = [level for stage, level in facts.levels(inputs).items() if stage != read.SPLIT]
    sides = facts.splits(inputs)
    rows = []
    # Both splits come from the last stage before them.
    before = [None, *stages, stages[-1]]
    for place, (level, source) in enumerate(zip([*stages, *sides.values()], before, strict=True)):
        dropped = exact(source.documents - level.documents) if source and place < len(stages) else NONE
        kept = share(level.documents, source.documents) if source else NONE
        mean = exact(level.bytes / level.documents) if level.documents else NONE
        rows.append((level.name, exact(level.documents), in_bytes(level.bytes), kept, dropped, mean))
    columns = ("Stage", "Documents", "Text", "Kept", "Dropped", "Bytes per document")
    blocks: list[Block] = [
        text("From the documents of the sources to those that the model reads."),
        training_plots.funnel([*stages, sides["train"]]),
        Table(columns, rows),
    ]
    return Section("Data", [*blocks, *drops(inputs), *_bad_records(inputs)])


def drops(inputs: Inputs) -> list[Picture]:
    """The figure of drops by rule, if there are any."""
    found = facts.all_drops(inputs)
    return [data_plots.drops(found, read.raw(inputs).documents)] if found else []


def _bad_records(inputs: Inputs) -> list[Block]:
    """The records that could not become documents."""
    raw = read.raw(inputs)
    reasons = ", ".join(f"{reason} ({exact(count)})" for reason, count in raw.bad_records_by_reason.items())
    return [note(f"{exact(raw.bad_records)} bad records were set aside: {reasons}.")] if raw.bad_records else []


def overview(job: Job) -> Section:
    """The headline numbers of the documents, their lengths and languages."""
    inputs = job.inputs
    raw, train, heldout = read.raw(inputs), facts.splits(inputs)["train"], facts.splits(inputs)["heldout"]
    tokens = sum(row.tokens for row in facts.tokens_by_source(inputs))
    of_text = f"{percent(train.bytes / raw.bytes)} of {in_bytes(raw.bytes)}" if raw.bytes else ""
    tiles = [
        Tile("Text to train on", in_bytes(train.bytes), of_text),
        Tile(
            "Documents", short(train.documents), f"of {exact(raw.documents)}, {exact(heldout.documents)} more held out"
        ),
        Tile("Tokens", short(tokens), f"{train.bytes / tokens:.2f} bytes each" if tokens else ""),
    ]
    for stage, what in DROPPED.items():
        if stage in inputs:
            found = read.funnel(inputs[stage])
            more = f"{exact(found.dropped)} of {exact(found.documents_in)} documents"
            tiles.append(Tile(what, share(found.dropped, found.documents_in), more))
    lost = [warning(f"Not accounted for: {line}") for line in facts.unaccounted(inputs)]
    pictures = [data_plots.by_source(facts.text_by_stage(inputs)), *_shapes(inputs)]
    return Section("Overview", [*lost, *failures(job), Tiles(tiles), *pictures])


def _shapes(inputs: Inputs) -> list[Block]:
    """Lengths and languages of the documents after cleaning, side by side if both are known."""
    clean = read.clean(inputs)
    half = bool(clean.lengths and clean.languages)
    pictures: list[Picture] = []
    if clean.lengths:
        series = [("clean documents", clean.lengths)]
        pictures.append(data_plots.histogram("lengths", "Length of documents", series, "bytes", "documents", half=half))
    if clean.languages:
        ordered = sorted(clean.languages.items(), key=lambda item: (-item[1], item[0]))
        rest = sum(count for _, count in ordered[LANGUAGES:])
        shown = [*ordered[:LANGUAGES], *([("others", rest)] if rest else [])]
        total = sum(clean.languages.values())
        pictures.append(data_plots.counts("languages", "Languages", shown, total, half=half))
    return [Pair(pictures)] if pictures else []


def funnel(job: Job) -> Section:
    """Every stage, and every rule that dropped something, with documents and bytes; what edits changed."""
    inputs = job.inputs
    levels = facts.levels(inputs)
    raw = levels[read.RAW]
    before, rows = raw, [_level("raw documents", raw, raw)]
    for stage, artifact in facts.dropping(inputs).items():
        drops = facts.drops_by_rule(artifact)
        for rule, counts in drops:
            taken = f"−{exact(counts['documents'])}", share(counts["documents"], raw.documents)
            size = f"−{in_bytes(counts['bytes'])}", share(counts["bytes"], raw.bytes)
            rows.append(Row((words(rule), *taken, *size), "drop"))
        edited = before.bytes - levels[stage].bytes - sum(counts["bytes"] for _, counts in drops)
        if edited:
            name = f"text that edits {'remove from' if edited > 0 else 'add to'} documents"
            size = f"{'−' if edited > 0 else '+'}{in_bytes(abs(edited))}", share(abs(edited), raw.bytes)
            rows.append(Row((name, "", "", *size), "drop"))
        before = levels[stage]
        if stage != read.SPLIT:
            rows.append(_level(f"{before.name} documents", before, raw))
    rows += [_level(side.name, side, raw) for side in facts.splits(inputs).values()]
    changed = _edits(inputs)
    how = text(
        "Every document of the sources is in one of these rows: it stayed, or one rule dropped it. Shares are of the "
        "raw documents and their text."
    )
    table = Table(("Stage or rule", "Documents", "Share", "Text", "Share"), rows)
    return Section("Funnel", [how, table, *_bad_records(inputs), *([Facts(changed, "Edits")] if changed else [])])


def _level(name: str, level: Level, raw: Level) -> Row:
    of_documents, of_bytes = share(level.documents, raw.documents), share(level.bytes, raw.bytes)
    return Row((name, exact(level.documents), of_documents, in_bytes(level.bytes), of_bytes), "level")


def _edits(inputs: Inputs) -> list[tuple[str, str]]:
    """Documents that cleaning changed, the text that it removed, and units that repeat across documents."""
    clean = read.clean(inputs)
    found = [("Documents that normalising changed", exact(clean.normalising_changed))]
    if clean.repaired:
        found.insert(0, ("Documents repaired", exact(clean.repaired)))
    found += [(f"Removed by {words(name)}", in_bytes(size)) for name, size in clean.removed_bytes.items() if size > 0]
    found += [
        (f"Redacted {words(name)}", f"{exact(counts['matches'])} in {exact(counts['documents'])} documents")
        for name, counts in clean.redactions.items()
    ]
    found += [
        (
            f"Lines removed by {words(name).removeprefix('line ')}",
            f"{exact(counts['lines'])}, {in_bytes(counts['bytes'])}",
        )
        for name, counts in clean.lines.items()
    ]
    repeats = read.unique(inputs).repeated_units if read.UNIQUE in inputs else {"units": 0}
    if repeats["units"]:
        told = f"{exact(repeats['units'])} in {exact(repeats['documents'])} documents, {in_bytes(repeats['bytes'])}"
        found.append(("Repeated lines or paragraphs removed", told))
    return found
