"""The preset ``fineweb`` beside datatrove's FineWeb filters as shipped: the same documents, in one run.

    python -m benchmarks.fineweb_verdicts [--text FOLDER] [--most 5000]

needs the extra ``bench`` (or datatrove in the environment). ``--text``: a folder of ``.jsonl.zst`` files with fields
``text`` and perhaps ``source``; of each file at most so many documents, evenly spread. datatrove's filters in FineWeb's
order: Gopher repetition, Gopher quality, C4 without its rule about the end of lines, FineWeb's own; texts as they are.
Ours: normalising, citations, and the preset's rules; language and URLs are left out on both sides.
"""

import argparse
from collections import Counter
from pathlib import Path

import polars as pl
import zstandard
from datatrove.data import Document
from datatrove.pipeline.filters.c4_filters import C4QualityFilter
from datatrove.pipeline.filters.fineweb_quality_filter import FineWebQualityFilter
from datatrove.pipeline.filters.gopher_quality_filter import GopherQualityFilter
from datatrove.pipeline.filters.gopher_repetition_filter import GopherRepetitionFilter

from llm_core.data.clean import rule_groups
from llm_core.data.normalise import normalised
from llm_core.data.redactions.pieces import citations
from llm_core.data.rules.judge import document_verdicts, judged_lines, without_lines
from llm_core.experiment.cleaning import CleaningSpec

SHOWN = 6
KEPT = "kept"


def documents(path: Path, most: int) -> pl.DataFrame:
    with path.open("rb") as file:
        frame = pl.read_ndjson(zstandard.ZstdDecompressor().stream_reader(file).read(), infer_schema_length=None)
    if "source" not in frame.columns:
        frame = frame.with_columns(source=pl.lit(path.name.partition(".")[0]))
    return frame.select("text", pl.col("source").cast(pl.String)).gather_every(-(-frame.height // most))


def theirs(texts: pl.Series) -> list[str]:
    """The rule that drops each text, or ``KEPT``."""
    filters = (
        GopherRepetitionFilter(),
        GopherQualityFilter(),
        C4QualityFilter(filter_no_terminal_punct=False),
        FineWebQualityFilter(),
    )

    def verdict(text: str) -> str:
        document = Document(text=text, id="")
        for one in filters:
            found = one.filter(document)
            if found is not True:
                return str(found[1])
        return KEPT

    return [verdict(text) for text in texts]


def ours(texts: pl.Series, cleaning: CleaningSpec) -> list[str]:
    """Likewise, by ``cleaning``."""
    left = pl.DataFrame({"text": citations(normalised(texts, cleaning))[0], "place": range(len(texts))})
    verdicts = [KEPT] * len(texts)

    def drop(rule: pl.Series) -> None:
        nonlocal left
        for place, name in zip(left["place"], rule, strict=True):
            if name is not None:
                verdicts[place] = name
        left = left.filter(rule.is_null())

    for of_lines, group in rule_groups(cleaning.rules):
        drop(left.select(pl.when(pl.col("text") == "").then(pl.lit("empty"))).to_series())
        if of_lines:
            lines = judged_lines(left["text"], group)
            left = left.with_columns(text=normalised(without_lines(left["text"], lines, group)[0], cleaning))
        else:
            drop(document_verdicts(left, group, cleaning.words)["rule"])
    return verdicts


def told(counts: Counter[str], total: int) -> str:
    return ", ".join(f"{name} {count / total:.1%}" for name, count in counts.most_common(SHOWN) if name != KEPT)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", type=Path, default=Path(__file__).parents[2] / "shared" / "data" / "text")
    parser.add_argument("--most", type=int, default=5000)
    arguments = parser.parse_args()
    fineweb, gopher = (
        CleaningSpec.model_validate({"preset": "fineweb"}),
        CleaningSpec.model_validate({"preset": "gopher"}),
    )
    agreements, rules, presets = [], [], []
    for path in sorted(arguments.text.glob("*.jsonl.zst")):
        frame = documents(path, arguments.most)
        corpus, total = path.name.partition(".")[0], frame.height
        mine, other = ours(frame["text"], fineweb), theirs(frame["text"])
        differ = Counter((one, two) for one, two in zip(mine, other, strict=True) if (one == KEPT) != (two == KEPT))
        rest = "; ".join(f"{one} / {two} ({count})" for (one, two), count in differ.most_common())
        dropped = [f"{sum(name != KEPT for name in verdicts) / total:.1%}" for verdicts in (mine, other)]
        same = 1 - differ.total() / total
        agreements.append(f"| {corpus} | {total:,} | {dropped[0]} | {dropped[1]} | {same:.2%} | {rest} |")
        by_paper = ours(frame["text"], gopher)
        for source in frame["source"].unique().sort():
            places = [place for place, name in enumerate(frame["source"]) if name == source]
            for rows, verdicts in ((rules, (mine, other)), (presets, (by_paper,))):
                cells = (told(Counter(found[place] for place in places), len(places)) for found in verdicts)
                rows.append(f"| {corpus} | {source} | {len(places):,} | {' | '.join(cells)} |")
    print("| corpus | documents | dropped by ours | by datatrove | same verdict | the rest: ours / datatrove |")
    print("|---|--:|--:|--:|--:|---|")
    print("\n".join(agreements))
    print("\n| corpus | source | documents | ours, preset `fineweb`: dropped by | datatrove |\n|---|---|--:|---|---|")
    print("\n".join(rules))
    print("\n| corpus | source | documents | preset `gopher`: dropped by |\n|---|---|--:|---|")
    print("\n".join(presets))


if __name__ == "__main__":
    main()
