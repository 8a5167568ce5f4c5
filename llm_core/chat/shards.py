"""The stages ``instruct_shards``, ``chat_shards`` and ``preference_shards``: conversations as tokens, and the targets.

The layout is that of ``llm_core.tokens.shards``, so the loader and all that traces tokens to documents read them. A
conversation is a document, and a pair of answers two documents side by side (``sides``). ``<split>/targets.npy`` is the
target mask (``llm_core.tokens.target_mask``). Beside them are ``chat_template.jinja``, and ``chat.json`` with the
persona's system line and the ids that end an answer.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from llm_core.chat.conversation import ConversationError
from llm_core.chat.conversations import hashed_below, said_in, sides, turns_of
from llm_core.chat.results import ConversationShards
from llm_core.chat.template import ChatTemplate
from llm_core.data.parquet_parts import read_part, write_part
from llm_core.data.records import document_id
from llm_core.data.split import SPLITS
from llm_core.errors import PedigreeError
from llm_core.experiment.chat import CHAT_FILE, TEMPLATE_FILE
from llm_core.experiment.evaluation import ChecksSpec
from llm_core.experiment.tokens import ShardsSpec
from llm_core.experiment.tuning import PERSONA, PersonaSpec
from llm_core.graph.job import Job
from llm_core.graph.part import InputFile, PartTask, PartWork
from llm_core.graph.stage import Verdict
from llm_core.store.digests import file_digest
from llm_core.store.parts import link_or_copy
from llm_core.tokens.shard_file import write_shard
from llm_core.tokens.shards import PLACES
from llm_core.tokens.target_mask import FILE as MASK
from llm_core.tokens.tokenizer import vocabulary_size

_AT_ONCE = 1000


class _Rows(NamedTuple):
    """Conversations as tokens: ``places`` has the columns of ``documents.parquet`` that name them."""

    ids: np.ndarray
    targets: np.ndarray
    lengths: np.ndarray
    places: pl.DataFrame


def parts(inputs: Mapping[str, Sequence[InputFile]], **config: Any) -> list[PartTask]:
    """A task per file of conversations. None if the tokenizer is not made yet (the plan asks then, too)."""
    shared = {name: config[name] for name in ("shards", "template", "heldout_share", "sequence_length")}
    return [
        PartTask(file.stem, encode_part, {"conversations": file, "tokenizer": tokenizer}, shared)
        for tokenizer in inputs["tokenizer"]
        if tokenizer.name == "tokenizer.json"
        for file in inputs["conversations"]
        if file.name.startswith("parts/") and file.stem != PERSONA
    ]


def build(
    job: Job,
    shards: ShardsSpec,
    template: str,
    heldout_share: float,
    sequence_length: int,
    persona: PersonaSpec | None,
) -> ConversationShards:
    """Encode all conversations, and repeat the persona's until they have their share of the training tokens.

    ``template``: Jinja, also of a built-in template, so that another built-in template makes nothing again.

    Raises ``PedigreeError`` for a template that does not fit the tokenizer, for an exchange of the persona that is
    longer than a sequence, and for fewer held-out tokens than one sequence.
    """
    path = job.path("tokenizer", "tokenizer.json")
    opened = ChatTemplate(template, path)
    vocab_size, digest = vocabulary_size(opened.tokenizer), file_digest(path)
    settings = {
        "shards": shards, "template": template, "heldout_share": heldout_share, "sequence_length": sequence_length
    }  # fmt: skip
    made = job.map(parts(job.files(), **settings), link=False)
    index: dict[str, Any] = {
        "dtype": shards.dtype,
        "vocab_size": vocab_size,
        "eot": opened.eot,
        "tokenizer": digest,
        "targets": {},
        "splits": {},
    }
    repeats = 0
    tables: list[pl.DataFrame] = []
    totals: dict[str, tuple[int, int]] = {}
    for split in SPLITS:
        folder = job.out / split
        folder.mkdir(parents=True)
        chosen = sorted(
            (part for part in made if part.stats[split]), key=lambda part: (part.stats["source"], part.name)
        )
        records, masks, found = [], [], []
        for part in chosen:
            link_or_copy(part.folder / split / f"{part.name}.bin", folder / f"{part.name}.bin")
            masks.append(np.load(part.folder / split / MASK))
            found.append(read_part(part.folder / split / "documents.parquet"))
            records.append(_record(split, part.name, part.stats["source"], len(masks[-1]), found[-1].height))
        if split == "train" and persona is not None:
            others = sum(map(len, masks))
            rows = _persona(
                job.stage, job.path("conversations", "parts", f"{PERSONA}.parquet"), opened, sequence_length
            )
            repeats = max(1, round(persona.share / (1 - persona.share) * others / len(rows.ids)))
            rows = _repeated(rows, repeats)
            _write(folder / f"{PERSONA}.bin", rows, shards, vocab_size, digest)
            masks.append(rows.targets)
            found.append(_table(rows))
            records.append(_record(split, PERSONA, PERSONA, len(rows.ids), len(rows.lengths)))
        mask = np.concatenate([np.empty(0, dtype=np.bool_), *masks])
        np.save(folder / MASK, mask)
        tables += _placed(split, found, folder)
        index["targets"][split] = file_digest(folder / MASK)
        index["splits"][split] = {
            "tokens": len(mask), "documents": sum(record["documents"] for record in records), "shards": records
        }  # fmt: skip
        totals[split] = (len(mask), int(mask.sum()))
    (pl.concat(tables) if tables else pl.DataFrame(schema=PLACES)).write_parquet(job.out / "documents.parquet")
    (job.out / "shards.json").write_text(json.dumps(index, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    (job.out / TEMPLATE_FILE).write_text(opened.source, encoding="utf-8")
    about = {"system": persona and persona.system, "stop": list(opened.stop)}
    (job.out / CHAT_FILE).write_text(json.dumps(about, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return _results([part.stats for part in made], index, totals, opened, repeats)


def encode_part(
    work: PartWork, shards: ShardsSpec, template: str, heldout_share: float, sequence_length: int
) -> dict[str, Any]:
    """Write both splits of a file of conversations. What is longer than a sequence is left out: a conversation, or a
    pair, which is trained on in one sequence."""
    path = work.inputs["tokenizer"]
    opened, frame = ChatTemplate(template, path), read_part(work.inputs["conversations"])
    each = 2 if frame["rejected"].null_count() < frame.height else 1  # documents of a conversation
    stats: dict[str, Any] = {"source": frame["source"][0] if frame.height else "", "longest": 0, "too_long": 0}
    heldout = np.array([hashed_below(_asked(turns), heldout_share) for turns in turns_of(frame)], dtype=np.bool_)
    for split, chosen in (("train", ~heldout), ("heldout", heldout)):
        own = frame.filter(pl.Series(chosen))
        rows = _encoded(own if each == 1 else sides(own), opened)
        lengths = rows.lengths.reshape(-1, each).sum(axis=1)
        fits = lengths <= sequence_length
        stats["longest"] = max(stats["longest"], int(lengths.max(initial=0)))
        stats["too_long"] += int((~fits).sum())
        rows = _only(rows, np.repeat(fits, each))
        stats[split] = len(rows.lengths)
        if len(rows.lengths):
            folder = work.out / split
            folder.mkdir(parents=True)
            _write(folder / f"{work.name}.bin", rows, shards, vocabulary_size(opened.tokenizer), file_digest(path))
            np.save(folder / MASK, rows.targets)
            write_part(folder / "documents.parquet", _table(rows))
    names = sorted(opened.special)
    typed = said_in(frame).str.contains_any(names)
    return {**stats, "conversations": frame.height, "typed": int(typed.sum())}


def _asked(turns: Sequence[Any]) -> str:
    """The first user's turn: conversations with equal ones are in the same split."""
    return str(next(turn.content for turn in turns if turn.role == "user"))


def _encoded(frame: pl.DataFrame, template: ChatTemplate) -> _Rows:
    ids: list[np.ndarray] = []
    targets: list[np.ndarray] = []
    lengths: list[int] = []
    places = frame.select("doc_id", "source", "origin", "row")
    for start in range(0, frame.height, _AT_ONCE):
        batch = frame.slice(start, _AT_ONCE)
        try:
            encoded = template.encode_turns(list(turns_of(batch)))
        except ConversationError as error:
            raise PedigreeError(f"{_refused(batch, template)}: {error}; leave such conversations out") from None
        ids += [np.array(found.ids, dtype=np.uint32) for found in encoded]
        targets += [np.array(found.targets, dtype=np.bool_) for found in encoded]
        lengths += [len(found.ids) for found in encoded]
    return _Rows(
        np.concatenate([np.empty(0, np.uint32), *ids]),
        np.concatenate([np.empty(0, np.bool_), *targets]),
        np.array(lengths, dtype=np.int64),
        places,
    )


def _refused(batch: pl.DataFrame, template: ChatTemplate) -> str:
    """The place of the first conversation that the template refuses."""
    for place, turns in zip(batch.select("source", "origin", "row").iter_rows(), turns_of(batch), strict=True):
        try:
            template.encode_turns([turns])
        except ConversationError:
            return f"{place[0]}/{place[1]}:{place[2]}"
    raise AssertionError("one of them was refused before")


def _only(rows: _Rows, kept: np.ndarray) -> _Rows:
    tokens = np.repeat(kept, rows.lengths)
    return _Rows(rows.ids[tokens], rows.targets[tokens], rows.lengths[kept], rows.places.filter(pl.Series(kept)))


def _persona(stage: str, path: Path, template: ChatTemplate, sequence_length: int) -> _Rows:
    rows = _encoded(read_part(path), template)
    longest = int(rows.lengths.max())
    if longest > sequence_length:
        number = int(rows.lengths.argmax()) // 2  # each exchange is there with the system line, and without
        raise PedigreeError(
            f"{stage}: persona.exchanges[{number}]: has {longest} tokens with its system line, and a sequence "
            f"{sequence_length} (training.sequence_length); shorten it"
        )
    return rows


def _repeated(rows: _Rows, repeats: int) -> _Rows:
    """``rows`` so often. Repeat r of row i of n is row r·n + i of its source, and has an identity of its own."""
    count = len(rows.lengths)
    numbers = range(repeats * count)
    places = pl.DataFrame(
        {
            "doc_id": [document_id(PERSONA, PERSONA, number) for number in numbers],
            "source": PERSONA,
            "origin": PERSONA,
            "row": numbers,
        }
    )
    ids, targets, lengths = (np.tile(part, repeats) for part in (rows.ids, rows.targets, rows.lengths))
    return _Rows(ids, targets, lengths, places)


def _write(path: Path, rows: _Rows, shards: ShardsSpec, vocab_size: int, tokenizer: str) -> None:
    write_shard(path, rows.ids, dtype=shards.dtype, vocab_size=vocab_size, tokenizer=tokenizer)


def _table(rows: _Rows) -> pl.DataFrame:
    ends = np.cumsum(rows.lengths)
    return pl.DataFrame({"token_start": ends - rows.lengths, "token_end": ends}).hstack(rows.places)


def _placed(split: str, found: Sequence[pl.DataFrame], folder: Path) -> Iterator[pl.DataFrame]:
    """The tables of a split's shards, with their places in its stream. Writes ``documents.npy``."""
    starts, stream = [], 0
    for number, table in enumerate(found):
        placed = table.with_columns(
            split=pl.lit(split), shard=pl.lit(number, pl.Int64), stream_start=pl.col("token_start") + stream
        )
        starts.append(placed["stream_start"].to_numpy())
        stream += int(table["token_end"][-1])
        yield placed.select(*PLACES)
    np.save(folder / "documents.npy", np.concatenate([*starts, [stream]]).astype(np.int64))


def _record(split: str, name: str, source: str, tokens: int, documents: int) -> dict[str, Any]:
    return {"file": f"{split}/{name}.bin", "tokens": tokens, "documents": documents, "source": source}


def _results(
    parts: Sequence[Mapping[str, Any]],
    index: Mapping[str, Any],
    totals: Mapping[str, tuple[int, int]],
    template: ChatTemplate,
    repeats: int,
) -> ConversationShards:
    splits = index["splits"]
    (train, train_targets), (heldout, heldout_targets) = totals["train"], totals["heldout"]
    persona = sum(shard["tokens"] for shard in splits["train"]["shards"] if shard["source"] == PERSONA)
    too_long, conversations = (sum(part[figure] for part in parts) for figure in ("too_long", "conversations"))
    return ConversationShards(
        train_conversations=splits["train"]["documents"],
        heldout_conversations=splits["heldout"]["documents"],
        train_tokens=train,
        heldout_tokens=heldout,
        train_targets=train_targets,
        heldout_targets=heldout_targets,
        target_share=(train_targets + heldout_targets) / (train + heldout) if train + heldout else 0.0,
        too_long=too_long,
        too_long_share=too_long / conversations if conversations else 0.0,
        longest=max((part["longest"] for part in parts), default=0),
        control_tokens_typed=sum(part["typed"] for part in parts),
        persona_repeats=repeats,
        persona_share=persona / train if train else 0.0,
        stop=list(template.stop),
        template=template.source,
    )


def both_splits(results: ConversationShards, bounds: ChecksSpec) -> Verdict:
    """Both splits have conversations."""
    del bounds
    train, heldout = results.train_conversations, results.heldout_conversations
    least = min(train, heldout)
    advice = "" if least else ": use more conversations, another heldout_share, or longer sequences"
    return Verdict(least > 0, f"{train} conversations to tune on, {heldout} held out{advice}", value=least, bound=1)


def too_long(results: ConversationShards, bounds: ChecksSpec) -> Verdict:
    """Few conversations are longer than a sequence. None is ever cut."""
    most = bounds.max_too_long_conversations
    return Verdict(
        results.too_long_share <= most,
        f"{results.too_long} conversations ({results.too_long_share:.1%}; at most {most:.0%} may be) are longer than a "
        f"sequence, and are left out; the longest has {results.longest} tokens. A larger training.sequence_length "
        "keeps more of them"
        if results.too_long
        else "every conversation fits into a sequence",
        value=results.too_long_share,
        bound=most,
    )


def control_tokens_typed(results: ConversationShards, bounds: ChecksSpec) -> Verdict:
    """No conversation contains the name of a control token as text."""
    del bounds
    typed = results.control_tokens_typed
    return Verdict(
        typed == 0,
        f"{typed} conversations contain the name of a control token as text, which the model learns to spell; the "
        "source's 'remove' takes such strings out"
        if typed
        else "no conversation contains the name of a control token",
        value=typed,
        bound=0,
    )
