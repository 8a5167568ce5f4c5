"""Normalises documents, and drops those that fail a quality rule. Drops keep rule and value; edits are counted."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from llm_core.data.cleaning_samples import (
    Judged,
    edited_places,
    join_samples,
    taken_lines,
    write_edits,
    write_near_misses,
)
from llm_core.data.funnel import Funnel, funnel_between, joined, totals
from llm_core.data.mojibake import REPLACEMENT, has_mojibake, repaired
from llm_core.data.normalise import normalised
from llm_core.data.parquet_parts import read_part, write_part
from llm_core.data.results import CleanDocuments
from llm_core.data.rules.blocked import addresses, blocked_urls, blocked_words, entries
from llm_core.data.rules.judge import counts_words, document_values, judged_lines, verdicts, without_lines
from llm_core.data.rules.languages import check_known, identified, language_model
from llm_core.errors import PedigreeError
from llm_core.experiment.cleaning import CleaningSpec, RedactionSpec, RuleSpec
from llm_core.experiment.evaluation import ChecksSpec
from llm_core.graph.job import Job
from llm_core.graph.part import InputFile, PartTask, PartWork
from llm_core.graph.stage import Verdict
from llm_core.registries import LINE_RULES, RULES

EMPTY = "empty"
"""The rule that drops a document without remaining text."""

URL_LIST, WORD_LIST, LANGUAGE = "blocked_urls", "blocked_words", "language"

REPAIR, NORMALISING = "repair", "normalising"
"""The edits that are made to every text."""

NOTABLE_DROPS = 0.1
"""If one rule drops a larger share of a source, its bound does not fit this kind of text."""

_NAMED = 10
"""How many such drops a message names."""

UNSPACED_LETTERS = 20
"""A text with more characters per white space is in a script without spaces (Chinese, Thai)."""

NOTABLE_UNSPACED = 0.01
"""The share of documents in such scripts above which a check fails: rules about words mean nothing for them."""

NOTABLE_BROKEN = 0.01
"""If a larger share of documents has mojibake or U+FFFD, a source is read with the wrong encoding."""

NOTABLE_OTHER_LANGUAGES = 0.5
"""If a larger share of documents is in other languages, a source is probably not what was meant."""


def source_digests(cleaning: CleaningSpec) -> dict[str, str]:
    """Name → digest, for the block lists, the language model and the data files of redactions.

    Raises ``PedigreeError`` when a file is missing or is no list, and for a language that the model does not know.
    """
    return {name: file.digest for name, file in _files(cleaning).items()}


def _files(cleaning: CleaningSpec) -> dict[str, InputFile]:
    files = {}
    lists = ((URL_LIST, cleaning.blocked_urls, addresses), (WORD_LIST, cleaning.blocked_words, entries))
    for role, spec, check in lists:
        if spec is not None:
            path = Path(spec.path).expanduser()
            check(path)
            files[role] = InputFile.outside(path.name, path)
    if cleaning.language is not None:
        model = language_model()
        check_known(cleaning.language.keep, model)
        files[LANGUAGE] = InputFile.outside(model.name, model)
    for redaction in cleaning.redactions:
        if (file := redaction.knowledge()) is not None:
            files[redaction.kind] = InputFile.outside(file.name, file)
    return files


def parts(inputs: Mapping[str, Sequence[InputFile]], cleaning: CleaningSpec) -> list[PartTask]:
    """One task for every part of the raw documents."""
    files = _files(cleaning)
    return [
        PartTask(file.stem, clean_part, {"documents": file, **files}, {"cleaning": cleaning})
        for file in inputs["documents"]
        if file.name.startswith("parts/")
    ]


def clean_part(work: PartWork, cleaning: CleaningSpec) -> dict[str, Any]:
    """Clean one part: kept documents go to ``parts/``, dropped ones to ``dropped/``, both in the order of the input.

    ``dropped/`` has the text as it was judged, ``rule``, ``value`` and, if the experiment selects languages,
    ``language``. ``samples/`` has some edits and near misses.
    """
    raw = read_part(work.inputs["documents"])
    documents = _Documents(raw, cleaning)
    if cleaning.blocked_urls is not None:
        documents.drop_urls(work.inputs[URL_LIST])
    if cleaning.language is not None:
        documents.drop_languages(work.inputs[LANGUAGE])
    if cleaning.blocked_words is not None:
        documents.drop_words(work.inputs[WORD_LIST])
    for redaction in cleaning.redactions:
        documents.redact(redaction)
    for of_lines, group in rule_groups(cleaning.rules):
        documents.drop_lines(group) if of_lines else documents.judge(group)
    kept, dropped = documents.finished()
    write_part(work.out / "parts" / f"{work.name}.parquet", kept)
    write_part(work.out / "dropped" / f"{work.name}.parquet", dropped)
    write_edits(work.out, work.name, documents.edits)
    write_near_misses(work.out, work.name, documents.near_misses())
    return documents.stats | {
        "empty_parts": int(kept.is_empty()),
        "funnel": funnel_between(raw, kept, dropped),
        "lengths": _lengths(kept["text"]),
    }


def rule_groups(rules: Mapping[str, RuleSpec]) -> Iterator[tuple[bool, dict[str, RuleSpec]]]:
    """(whether they are line rules, rules) for every run of rules of one kind, in their order."""
    for of_lines, names in groupby(rules, key=lambda name: name in LINE_RULES):
        yield of_lines, {name: rules[name] for name in names}


class _Documents:
    """The documents of one part while they are cleaned: the remaining ones, the dropped ones, and the statistics."""

    def __init__(self, raw: pl.DataFrame, cleaning: CleaningSpec) -> None:
        self._cleaning = cleaning
        self._remaining = raw.with_row_index("place")
        self._dropped: list[pl.DataFrame] = []
        self._judged = Judged()
        self.edits: list[dict[str, Any]] = []
        self.stats: dict[str, Any] = {
            "removed_bytes": {REPAIR: 0, NORMALISING: 0, "redactions": 0, "lines": 0},
            "redactions": {},
            "lines": {},
            "languages": {},
            "documents_with_url": int(raw["url"].is_not_null().sum()),
        }
        self.stats |= {
            "mojibake": int(has_mojibake(raw["text"]).sum()),
            "replacement_characters": int(raw["text"].str.contains(REPLACEMENT, literal=True).sum()),
        }
        self.stats["unspaced"] = int(_is_unspaced(raw["text"]).sum()) if counts_words(cleaning.rules) else 0
        self.stats["repaired"] = self._edit(REPAIR, repaired(raw["text"])) if cleaning.repair else 0
        self.stats["normalising_changed"] = self._edit(NORMALISING, normalised(self._remaining["text"], cleaning))
        self._drop_empty()

    def _edit(self, kind: str, texts: pl.Series) -> int:
        """Replace the remaining texts by ``texts`` and take samples. Returns the number of texts that changed."""
        changed = (texts != self._remaining["text"]).arg_true().to_numpy()
        self.edits += edited_places(kind, self._remaining, changed, texts)
        self._rewrite(kind, texts)
        return len(changed)

    def drop_urls(self, path: Path) -> None:
        """Drop documents from blocked addresses."""
        blocked = blocked_urls(self._remaining["url"], path)
        self._drop(pl.DataFrame({"rule": _where(blocked, URL_LIST), "value": blocked.cast(pl.Float64)}))

    def drop_words(self, path: Path) -> None:
        """Drop documents with blocked words."""
        hits = blocked_words(self._remaining["text"], path, self._cleaning)
        self._drop(pl.DataFrame({"rule": _where(hits > 0, WORD_LIST), "value": hits.cast(pl.Float64)}))

    def drop_languages(self, model: Path) -> None:
        """Drop documents that are not in a language to keep, or not with enough confidence."""
        assert self._cleaning.language is not None
        found = identified(self._remaining["text"], model)
        self.stats["languages"] = dict(found["language"].value_counts().sort("language").iter_rows())
        kept = found["language"].is_in(self._cleaning.language.keep) & (
            found["score"] >= self._cleaning.language.min_score
        )
        self._judged.add(self._remaining["place"], found.select(pl.col("score").alias(LANGUAGE)))
        self._remaining = self._remaining.with_columns(found["language"])
        self._drop(pl.DataFrame({"rule": _where(~kept, LANGUAGE), "value": found["score"]}))

    def redact(self, redaction: RedactionSpec) -> None:
        """Replace what ``redaction`` finds."""
        redacted, counts = redaction.redacted(self._remaining["text"])
        self.stats["redactions"][redaction.kind] = {"matches": int(counts.sum()), "documents": int((counts > 0).sum())}
        places = (redacted != self._remaining["text"]).arg_true()
        self.edits += edited_places(redaction.kind, self._remaining, places.to_numpy(), redacted)
        self._normalise_again("redactions", redacted, places)

    def drop_lines(self, rules: Mapping[str, RuleSpec]) -> None:
        """Drop the lines that fail."""
        lines = judged_lines(self._remaining["text"], rules)
        shortened, counts = without_lines(self._remaining["text"], lines, rules)
        self.stats["lines"] |= counts
        self.edits += taken_lines(self._remaining, lines)
        self._normalise_again("lines", shortened, (shortened != self._remaining["text"]).arg_true())

    def judge(self, rules: Mapping[str, RuleSpec]) -> None:
        """Drop the documents that fail."""
        values = document_values(self._remaining, rules, self._cleaning.words)
        self._judged.add(self._remaining["place"], values)
        self._drop(verdicts(values, rules))

    def near_misses(self) -> list[dict[str, Any]]:
        """Kept documents that are nearest to the bound of a rule."""
        rules = dict(self._cleaning.rules)
        if self._cleaning.language is not None:
            rules[LANGUAGE] = RuleSpec(min=self._cleaning.language.min_score)
        return self._judged.near_misses(self._remaining, rules)

    def finished(self) -> tuple[pl.DataFrame, pl.DataFrame]:
        """(kept documents, dropped documents)."""
        kept = self._remaining.drop("place", "language", strict=False)
        dropped = pl.concat(self._dropped, how="diagonal").sort("place").drop("place")
        return kept, dropped

    def _normalise_again(self, kind: str, texts: pl.Series, places: pl.Series) -> None:
        """Take ``texts``, and normalise those at ``places`` again: an edit may have left a blank line."""
        self._rewrite(kind, texts.scatter(places, normalised(texts.gather(places), self._cleaning)))
        self._drop_empty()

    def _rewrite(self, kind: str, texts: pl.Series) -> None:
        before = self._remaining["text"]
        sizes = int(before.str.len_bytes().sum()) - int(texts.str.len_bytes().sum())
        self.stats["removed_bytes"][kind] += sizes
        self._remaining = self._remaining.with_columns(text=texts)

    def _drop_empty(self) -> None:
        empty = self._remaining["text"] == ""
        self._drop(pl.DataFrame({"rule": _where(empty, EMPTY), "value": pl.zeros(len(empty), eager=True)}))

    def _drop(self, verdicts: pl.DataFrame) -> None:
        """Drop the documents that have a ``rule``."""
        fails = verdicts["rule"].is_not_null()
        if not fails.any() and self._dropped:
            return
        self._dropped.append(self._remaining.with_columns(verdicts).filter(fails))
        self._remaining = self._remaining.filter(~fails)


def _is_unspaced(texts: pl.Series) -> pl.Series:
    """Whether each text has more than ``UNSPACED_LETTERS`` characters per white space (Boolean)."""
    sizes = texts.str.len_chars()
    # Counting plain spaces is fast, and decides for nearly all texts.
    few = sizes > UNSPACED_LETTERS * (texts.str.count_matches(" ", literal=True) + 1)
    places = few.arg_true()
    spaces = texts.gather(places).str.count_matches(r"\s") + 1
    return few.scatter(places, sizes.gather(places) > UNSPACED_LETTERS * spaces)


def _where(mask: pl.Series, name: str) -> pl.Series:
    return pl.select(pl.when(mask).then(pl.lit(name)).otherwise(None)).to_series()


def _lengths(texts: pl.Series) -> dict[str, int]:
    """The number of texts per power of two: ``"10"`` counts those of 1,024 to 2,047 bytes."""
    bins = np.frexp(texts.str.len_bytes().to_numpy().astype(np.float64))[1] - 1
    return {str(exponent): int(count) for exponent, count in enumerate(np.bincount(bins)) if count}


def build(job: Job, cleaning: CleaningSpec) -> CleanDocuments:
    """Clean every part. Raises ``PedigreeError`` if addresses are to be blocked and no document has one.

    All bytes are accounted for: ``bytes_in`` = ``bytes`` + dropped bytes + bytes removed from kept documents.
    """
    tasks = parts(job.files(), cleaning)
    if cleaning.blocked_urls is not None and not any(_has_urls(task.inputs["documents"].path) for task in tasks):
        raise PedigreeError(
            "cleaning.blocked_urls: no document has a url; give the source's field for it, or take out the list"
        )
    made = job.map(tasks)
    total: dict[str, Any] = {}
    for part in made:
        _add(total, {name: value for name, value in part.stats.items() if name != "funnel"})
    join_samples(job.out)
    funnel = totals(joined(part.stats["funnel"] for part in made), _rules(cleaning))
    return CleanDocuments(
        **{name: _sorted(value) for name, value in total.items()},
        **funnel,
        parts=len(made),
        drop_share=funnel["dropped"] / funnel["documents_in"] if funnel["documents_in"] else 0.0,
    )


def _has_urls(path: Path) -> bool:
    return bool(read_part(path, ["url"])["url"].is_not_null().any())


def _rules(cleaning: CleaningSpec) -> list[str]:
    """Every rule that can drop a document, in the order in which they are applied."""
    steps = {URL_LIST: cleaning.blocked_urls, LANGUAGE: cleaning.language, WORD_LIST: cleaning.blocked_words}
    return [EMPTY, *(name for name, spec in steps.items() if spec), *(name for name in cleaning.rules if name in RULES)]


def _add(total: dict[str, Any], more: Mapping[str, Any]) -> None:
    """Add the numbers in ``more`` to those in ``total``."""
    for name, value in more.items():
        if isinstance(value, Mapping):
            _add(total.setdefault(name, {}), value)
        else:
            total[name] = total.get(name, 0) + value


def _sorted(value: Any) -> Any:
    """Mappings sorted by key (numbers as numbers), so that the order of parts does not matter."""
    if not isinstance(value, dict):
        return value
    return {
        name: _sorted(value[name]) for name in sorted(value, key=lambda name: name.zfill(3) if name.isdigit() else name)
    }


def drops_by_rule(results: CleanDocuments, bounds: ChecksSpec) -> Verdict:
    """No rule drops a large share of a source."""
    del bounds
    funnel: Funnel = results.funnel
    shares = sorted(
        (-dropped["documents"] / counts["documents_in"], source, rule)
        for source, counts in funnel.items()
        for rule, dropped in counts["dropped"].items()
    )
    worst = [f"{rule} drops {-share:.1%} of {source}" for share, source, rule in shares if -share > NOTABLE_DROPS]
    taken = ", ".join(f"{rule} ({counts['lines']})" for rule, counts in results.lines.items() if counts["lines"])
    if taken and any(rule == EMPTY for share, _, rule in shares if -share > NOTABLE_DROPS):
        worst.append(f"{EMPTY} means that no text remained; line rules dropped lines: {taken}")
    if len(worst) > _NAMED:
        worst[_NAMED:] = [f"and {len(worst) - _NAMED} more such drops of sources"]
    most = -shares[0][0] if shares else 0.0
    return Verdict(
        not worst,
        f"{'; '.join(worst)}: look at what it drops (the data report has samples), and change its bound, "
        "cleaning.words or the source"
        if worst
        else f"no rule drops more than {most:.1%} of a source",
        value=most,
        bound=NOTABLE_DROPS,
    )


def drop_share(results: CleanDocuments, bounds: ChecksSpec) -> Verdict:
    """The share of dropped documents is within its bound."""
    share = results.drop_share
    worst = max(results.dropped_by_rule.items(), key=lambda item: item[1], default=("none", 0))
    return Verdict(
        share <= bounds.max_drop_share,
        f"{share:.1%} of {results.documents_in} documents are dropped, most by {worst[0]} ({worst[1]}); "
        f"at most {bounds.max_drop_share:.0%} are allowed",
        value=share,
        bound=bounds.max_drop_share,
    )


def languages(results: CleanDocuments, bounds: ChecksSpec) -> Verdict:
    """Most documents are in a language to keep."""
    del bounds
    others = results.dropped_by_rule.get(LANGUAGE, 0) / max(1, results.documents_in)
    identified_as = sorted(results.languages.items(), key=lambda item: (-item[1], item[0]))[:3]
    frequent = ", ".join(f"{language} ({count})" for language, count in identified_as) or "no language is asked for"
    return Verdict(
        others <= NOTABLE_OTHER_LANGUAGES,
        f"{others:.1%} of the documents are not clearly in a language to keep: {frequent}",
        value=others,
        bound=NOTABLE_OTHER_LANGUAGES,
    )


def encoding(results: CleanDocuments, bounds: ChecksSpec) -> Verdict:
    """Few documents were decoded wrongly."""
    del bounds
    broken = (results.mojibake - results.repaired + results.replacement_characters) / max(1, results.documents_in)
    return Verdict(
        broken <= NOTABLE_BROKEN,
        f"{results.mojibake} documents have wrongly decoded text ({results.repaired} of them were repaired by "
        f"cleaning.repair), and {results.replacement_characters} have U+FFFD, which can't be repaired: "
        "check how the source is read",
        value=broken,
        bound=NOTABLE_BROKEN,
    )


def unspaced(results: CleanDocuments, bounds: ChecksSpec) -> Verdict:
    """The documents are in scripts whose words can be counted."""
    del bounds
    share = results.unspaced / max(1, results.documents_in)
    return Verdict(
        share <= NOTABLE_UNSPACED,
        f"{results.unspaced} documents are in a script without spaces, or have none: rules that count words mean "
        "nothing for them; give them a source and an experiment of their own, without such rules",
        value=share,
        bound=NOTABLE_UNSPACED,
    )


def empty_parts(results: CleanDocuments, bounds: ChecksSpec) -> Verdict:
    """Every part has a remaining document."""
    del bounds
    message = f"nothing is left of {results.empty_parts} of {results.parts} parts"
    return Verdict(results.empty_parts == 0, message, value=results.empty_parts, bound=0)
