import json

import numpy as np
import polars as pl
import pytest

from llm_core.chat.template import ChatTemplate
from llm_core.errors import PedigreeError
from llm_core.experiment.chat import BUILT_IN
from llm_core.tokens.reader import ShardReader
from llm_core.tokens.target_mask import TargetMask, target_mask
from tests.chat.stages import LENGTH, PERSONA, encode, lines, read, source, talks
from tests.judged import judged


def documents(folder, split):
    """Place of each conversation → its ids and its targets, as they are read back."""
    reader, mask = ShardReader(folder, split), target_mask(ShardReader(folder, split))
    table = pl.read_parquet(folder / "documents.parquet").filter(pl.col("split") == split)
    found = {}
    for row in table.iter_rows(named=True):
        start, length = row["stream_start"], row["token_end"] - row["token_start"]
        kept = mask.spans(np.array([start]), np.array([length]))
        found[row["source"], row["row"]] = (reader.read(start, start + length).tolist(), kept.tolist())
    return found


def test_every_conversation_is_in_one_split_as_the_template_writes_it(made, tokenizer):
    _, folder, stats = made
    train, heldout = documents(folder, "train"), documents(folder, "heldout")
    template = ChatTemplate(BUILT_IN["plain"], tokenizer)
    for number, record in enumerate(talks(120)):
        (found,) = [split["talks", number] for split in (train, heldout) if ("talks", number) in split]
        assert found == tuple(template.encode(record["messages"]))
    assert stats["train_conversations"] == len(train)
    assert stats["heldout_conversations"] == len(heldout)
    assert 10 < len(heldout) < 40
    targets = sum(sum(kept) for _, kept in train.values())
    assert stats["train_targets"] == targets == int(np.load(folder / "train" / "targets.npy").sum())


def test_the_persona_has_its_share_of_the_training_tokens(made):
    _, folder, stats = made
    assert stats["persona_share"] == pytest.approx(PERSONA.share, abs=0.03)
    own = [key for key in documents(folder, "train") if key[0] == "persona"]
    assert len(own) == 4 * stats["persona_repeats"] == len(set(own))
    assert not [key for key in documents(folder, "heldout") if key[0] == "persona"]
    about = json.loads((folder / "chat.json").read_text())
    assert about == {"system": "You are Ada. You are brief.", "stop": [0]}


def test_long_conversations_are_left_out_whole_and_counted(made, tokenizer, tmp_path):
    conversations, folder, _ = made
    stats = encode(tmp_path / "job", conversations, tokenizer, sequence_length=36)
    lengths, own = (
        [
            len(ids)
            for split in ("train", "heldout")
            for (source, _), (ids, _) in documents(where, split).items()
            if source == "talks"
        ]
        for where in (folder, tmp_path / "job" / "out")
    )
    assert stats["too_long"] == 120 - len(own) > 0
    assert stats["longest"] == max(lengths) > max(own)
    check = next(check for check in judged("instruct_shards", stats) if check.name == "too_long")
    assert check.blocking
    assert not check.passed
    allowed = judged("instruct_shards", stats, max_too_long_conversations=0.9)
    assert all(check.passed for check in allowed if check.name == "too_long")


def test_a_turn_of_a_megabyte_is_counted_too(tokenizer, tmp_path):
    long = {"messages": [{"role": "user", "content": "abcdefgh " * 120_000}, {"role": "assistant", "content": "Yes."}]}
    read(tmp_path / "read", source(lines(tmp_path / "t.jsonl", [*talks(20), long])))
    stats = encode(tmp_path / "job", tmp_path / "read" / "out", tokenizer)
    assert stats["too_long"] == 1
    assert stats["longest"] > 100_000


def test_names_of_control_tokens_are_counted(tokenizer, tmp_path):
    typed = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b<|endoftext|>"}]}
    read(tmp_path / "read", source(lines(tmp_path / "t.jsonl", [*talks(20), typed])))
    stats = encode(tmp_path / "job", tmp_path / "read" / "out", tokenizer)
    check = next(check for check in judged("instruct_shards", stats) if check.name == "control_tokens_typed")
    assert not check.passed
    assert "'remove' takes such strings out" in check.message


def test_an_exchange_of_the_persona_that_is_too_long_is_an_error(made, tokenizer, tmp_path):
    with pytest.raises(PedigreeError, match=r"persona\.exchanges\[0\]: has \d+ tokens with its system line"):
        encode(tmp_path / "job", made[0], tokenizer, persona=PERSONA, sequence_length=40)


def test_a_template_that_refuses_a_conversation_names_it(made, tokenizer, tmp_path):
    refusing = "{% if messages[0].role == 'system' %}{{ raise_exception('no system lines') }}{% endif %}"
    template = refusing + ChatTemplate(BUILT_IN["plain"], tokenizer).source
    with pytest.raises(PedigreeError, match=r"talks/talks\.jsonl:\d+: .*no system lines; leave such"):
        encode(tmp_path / "job", made[0], tokenizer, template=template)


def test_a_mask_of_other_shards_is_refused(made, tmp_path):
    folder = made[1]
    with pytest.raises(PedigreeError, match="not a mask of 7 tokens"):
        TargetMask(folder / "train" / "targets.npy", 7)
    (tmp_path / "targets.npy").write_bytes(b"x")
    with pytest.raises(PedigreeError, match="not a whole target mask"):
        TargetMask(tmp_path / "targets.npy", 7)


def test_no_sequence_is_longer_than_said(made):
    assert max(len(ids) for ids, _ in documents(made[1], "train").values()) <= LENGTH
