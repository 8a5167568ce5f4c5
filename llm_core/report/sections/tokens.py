"""The sections about tokens: the tokenizer, tokens by source, and other vocabularies."""

from llm_core.graph.job import Job
from llm_core.report import data_plots, facts, read
from llm_core.report.blocks import Block, Facts, Row, Section, Table
from llm_core.report.facts import SourceTokens
from llm_core.report.formatting import NONE, exact, in_bytes, percent, share, short
from llm_core.report.read import Inputs
from llm_core.report.sections.dropped import SOURCES

SOURCE_ROWS = 25


def tokenizer(job: Job) -> Section:
    """How well the tokenizer fits."""
    fitted, shards = read.tokenizer(job.inputs), read.shards(job.inputs)
    rows = [
        ("Vocabulary", exact(fitted.vocab_size)),
        ("Bytes per token, training", f"{fitted.bytes_per_token:.3f}"),
        ("Bytes per token, held out", f"{fitted.heldout_bytes_per_token:.3f}"),
        ("Unknown tokens, held out", percent(fitted.unk_rate)),
        ("Entries never used", f"{exact(shards.unused_entries)} ({percent(shards.unused_share)})"),
        ("Trained on", f"{in_bytes(fitted.sample_bytes)}, {exact(fitted.sample_documents)} documents"),
        ("Training split", f"{short(shards.train_tokens)} tokens"),
        ("Held-out split", f"{short(shards.heldout_tokens)} tokens"),
    ]
    return Section("Tokenizer", [Facts(rows)])


def tokens(job: Job) -> Section:
    """The same, with tokens by source, and bytes per token of other vocabularies."""
    vocabularies = facts.vocabularies(job.inputs)
    blocks: list[Block] = [*tokenizer(job).blocks, tokens_table(job.inputs)]
    if len(vocabularies) > 1:
        blocks.append(data_plots.vocabularies([(row["name"], row["by_source"]) for row in vocabularies]))
    if vocabularies:
        largest = {row.source for row in facts.tokens_by_source(job.inputs)[:SOURCES]}
        sources = [source for source in vocabularies[0]["by_source"] if source in largest]
        all_shown = len(sources) == len(vocabularies[0]["by_source"])
        caption = "Bytes per token" + ("" if all_shown else ", over all sources and of the largest")
        rows = [
            Row(
                (
                    row["name"],
                    exact(row["vocab_size"]),
                    f"{row['bytes_per_token']:.3f}",
                    *(f"{row['by_source'][source]:.3f}" for source in sources),
                ),
                "" if place else "ours",
            )
            for place, row in enumerate(vocabularies)
        ]
        blocks.append(Table(("Vocabulary", "Entries", "All", *sources), rows, caption=caption, pinned=True))
    return Section("Tokens", blocks)


def tokens_table(inputs: Inputs) -> Table:
    """Tokens by source. With many sources, the smallest share one row."""
    rows = facts.tokens_by_source(inputs)
    total = sum(row.tokens for row in rows)
    if len(rows) > SOURCE_ROWS + 1:
        rest = rows[SOURCE_ROWS:]
        others = SourceTokens(
            f"{len(rest)} others", sum(row.tokens for row in rest), sum(row.documents for row in rest)
        )
        rows = [*rows[:SOURCE_ROWS], others]
    cells = [
        (
            row.source,
            short(row.tokens),
            share(row.tokens, total),
            exact(row.documents),
            exact(row.tokens / row.documents) if row.documents else NONE,
        )
        for row in rows
    ]
    columns = ("Source", "Tokens", "Share", "Documents", "Tokens per document")
    return Table(columns, cells, caption="Training split by source")
