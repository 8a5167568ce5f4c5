"""The section about what each rule dropped: by source, with samples and near misses."""

from collections.abc import Mapping, Sequence
from typing import Any

from llm_core.data.clean import LANGUAGE, NOTABLE_DROPS
from llm_core.data.cleaning_samples import NEAR_MISSES, SHOWN
from llm_core.data.quality.judged import RULE as QUALITY
from llm_core.experiment.cleaning import CleaningSpec, RuleSpec
from llm_core.graph.job import Job
from llm_core.report import data_plots, facts, read
from llm_core.report.blocks import Block, Card, Cards, Cell, Facts, Folded, Heading, Row, Section, Table, note, text
from llm_core.report.excerpts import dropped_samples
from llm_core.report.formatting import NONE, exact, in_bytes, percent, words
from llm_core.report.read import Inputs
from llm_core.report.sections.documents import drops
from llm_core.store.manifest import Artifact

SOURCES = 12
"""Columns of tables by source. Further sources share one column."""


def dropped(job: Job, cleaning: CleaningSpec) -> Section:
    """``cleaning``: the bounds to show beside the rules; another bound may give the same documents."""
    inputs = job.inputs
    table, samples = rules_by_source(inputs), drop_samples(inputs, cleaning)
    blocks: list[Block] = _quality(inputs)
    if table is None:
        blocks.append(text("Nothing."))
    else:
        blocks += [*drops(inputs), table]
        if any(isinstance(cell, Cell) and cell.marked for _, cells in table.lines() for cell in cells):
            blocks.append(
                note(
                    f"Marked: one rule of cleaning drops more than {percent(NOTABLE_DROPS)} of a source. Its bound may "
                    "not fit that text."
                )
            )
    if samples:
        blocks.append(
            note(
                "By rule: the beginnings of documents that it dropped, up to ten per source, normalised as the rule "
                "saw them, with the value that the rule found. Near misses: the ten documents that stayed with values "
                "nearest to the bound."
            )
        )
    return Section("What was dropped", [*blocks, *samples])


def _quality(inputs: Inputs) -> list[Block]:
    """Scores, training data and accuracy of the quality classifier."""
    blocks: list[Block] = []
    if read.JUDGED in inputs:
        judged = read.judged(inputs)
        every = [sum(counts) for counts in zip(*judged.scores.values(), strict=True)]
        blocks += [data_plots.scores(every, judged.bound)] if every else []
    if read.QUALITY in inputs:
        learned = read.quality(inputs)
        rows = [
            *((f"Examples, {side}", exact(count)) for side, count in learned.examples.items()),
            ("AUC on held-out examples", f"{learned.auc:.3f}"),
            ("Accuracy, at a score of 0.5", percent(learned.accuracy)),
            ("Good examples that reach the bound", percent(learned.kept_of_good)),
        ]
        blocks.append(Facts(rows, "Quality classifier"))
    return blocks


def rules_by_source(inputs: Inputs) -> Table | None:
    """A table of drops per rule and source, and of the rest after each stage. None if nothing was dropped.

    Shares are relative to the documents of the source that came to the stage. Marked cells: the findings of cleaning's
    check ``drops_by_rule``. With many sources, two groups have their own columns: the largest sources, and those from
    which one rule of cleaning drops the most documents.
    """
    columns = _columns(inputs)
    rows: list[Row] = []
    for stage, artifact in facts.dropping(inputs).items():
        found = facts.flow(artifact)
        came = {source: counts["documents_in"] for source, counts in found.items()}
        rules = [
            (words(rule), counts, {source: found[source]["dropped"].get(rule) for source in found}, "drop")
            for rule, counts in facts.drops_by_rule(artifact)
        ]
        if rules:
            stayed = read.left(artifact)
            total = {"documents": stayed.documents, "bytes": stayed.bytes}
            rules.append((f"{facts.STAGES[stage]} documents", total, found, "level"))
        for name, counts, by_source, kind in rules:
            bound = NOTABLE_DROPS if kind == "drop" and stage == read.CLEAN else 1.0
            every = Cell(exact(counts["documents"]), more=in_bytes(counts["bytes"]))
            cells = [_cell(sources, by_source, came, kind, bound) for _, sources in columns]
            rows.append(Row((Cell(name, "nowrap"), every, *cells), kind))
    caption = "By source: share of the documents that came to the stage, documents, and text"
    titles = ("Stage or rule", "All", *(title for title, _ in columns))
    return Table(titles, rows, caption=caption, pinned=True) if rows else None


def _columns(inputs: Inputs) -> list[tuple[str, list[str]]]:
    """(title, sources) of the table's columns, in the order of the sources. The last one may contain all others."""
    raw = read.raw(inputs)
    sources = [source for source, count in raw.documents_by_source.items() if count]
    own = sources
    if len(sources) > SOURCES + 1:
        own = sorted(sources, key=lambda source: (-raw.bytes_by_source[source], source))[: SOURCES // 2]
        most = {
            source: max((rule["documents"] for rule in counts["dropped"].values()), default=0)
            for source, counts in facts.flow(inputs[read.CLEAN]).items()
            if source not in own
        }
        own += sorted(most, key=lambda source: (-most[source], source))[: SOURCES - len(own)]
    others = [source for source in sources if source not in own]
    rest = [(f"{len(others)} others", others)] if others else []
    return [*((source, [source]) for source in sources if source in own), *rest]


def _cell(sources: Sequence[str], found: Mapping[str, Any], came: Mapping[str, int], kind: str, bound: float) -> Cell:
    counted = [counts for counts in map(found.get, sources) if counts is not None]
    documents, size = (sum(counts[name] for counts in counted) for name in ("documents", "bytes"))
    all_came = sum(came.get(source, 0) for source in sources)
    if not documents:
        return Cell("0%" if kind == "level" and all_came else NONE)
    part = documents / all_came
    return Cell(percent(part), more=f"{exact(documents)} · {in_bytes(size)}", marked=part > bound)


def drop_samples(inputs: Inputs, cleaning: CleaningSpec) -> list[Folded]:
    """Per stage and rule: the number of drops, and excerpts of some, each with the rule's finding.

    Rules of cleaning and the quality score also have bounds and near misses. Rules without drops come last in their
    stage.
    """
    found = []
    for stage, artifact in facts.dropping(inputs).items():
        known = _bounds(stage, artifact, cleaning)
        near = near_misses(artifact, known)
        samples, busy = dropped_samples(artifact.path / "dropped"), dict(facts.drops_by_rule(artifact))
        for rule in [*busy, *(rule for rule in known if rule in near and rule not in busy)]:
            count = exact(busy[rule]["documents"]) if rule in busy else "none"
            stays = f"; stays: {_told_bounds(known[rule])}" if rule in known else ""
            blocks: list[Block] = []
            if rule in samples:
                cards = [excerpt.card(_findings(more)) for excerpt, more in samples[rule]]
                blocks += [Heading("Dropped"), Cards(cards)]
            if rule in near:
                blocks += [Heading("Near misses"), Cards(near[rule])]
            found.append(Folded(words(rule), f"{facts.STAGES[stage]}: {count}{stays}", blocks))
    return found


def _findings(more: Mapping[str, Any]) -> str:
    shown = [
        f"{words(name)} {value:.4g}" if isinstance(value, float) else f"{words(name)} {value}"
        for name, value in more.items()
        if name not in ("rule", "kept_doc_id", "url") and value is not None
    ]
    return ", ".join(shown)


def _bounds(stage: str, artifact: Artifact, cleaning: CleaningSpec) -> dict[str, RuleSpec]:
    """The bounds of a stage's rules that have bounds, in the order of the rules."""
    if stage == read.JUDGED:
        return {QUALITY: RuleSpec(min=read.judged({stage: artifact}).bound)}
    if stage != read.CLEAN:
        return {}
    language = {} if cleaning.language is None else {LANGUAGE: RuleSpec(min=cleaning.language.min_score)}
    return {**language, **cleaning.rules}


def _told_bounds(rule: RuleSpec) -> str:
    """``at least 50``, ``at most 0.3``, ``3 to 10``."""
    if rule.min is not None and rule.max is not None:
        return f"{rule.min:,g} to {rule.max:,g}"
    return f"at least {rule.min:,g}" if rule.min is not None else f"at most {rule.max:,g}"


def near_misses(artifact: Artifact, known: Mapping[str, RuleSpec]) -> dict[str, list[Card]]:
    """Rule of ``known`` → the kept documents whose values are nearest to its bounds, the nearest first.

    A value of 0 with an upper bound of 0 is left out: it is as far from a drop as possible.
    """
    found: dict[str, list[tuple[float, str, Card]]] = {}
    for row in facts.json_lines(artifact.path / NEAR_MISSES):
        bound = getattr(known[row["rule"]], row["bound"])
        if bound != 0 or row["value"] != 0:
            card = Card(row["source"], (row["excerpt"],), row["doc_id"], f"value {row['value']:.4g}")
            found.setdefault(row["rule"], []).append((abs(row["value"] - bound), row["doc_id"], card))
    ordered = {rule: sorted(rows, key=lambda row: row[:2]) for rule, rows in found.items()}
    return {rule: [card for _, _, card in rows[:SHOWN]] for rule, rows in ordered.items()}
