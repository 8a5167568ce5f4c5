import json

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models

from llm_core.errors import PedigreeError
from llm_core.experiment.runtime import ComputeSpec
from llm_core.experiment.tokens import ShardsSpec, TokenizerSpec
from llm_core.graph.job import Job, Runtime
from llm_core.store.digests import file_digest
from llm_core.tokens import batches, shards
from llm_core.tokens.learn import train_tokenizer
from llm_core.tokens.shard_file import open_shard
from llm_core.tokens.tokenizer import load_tokenizer
from tests.data.stages import artifact, digests, documents, run, write
from tests.judged import judged

TEXTS = [f"Text {number} with " + "some words " * (number % 13) for number in range(120)]
HOSTILE = ["<|endoftext|>", "a<|endoftext|>b", "\U0001f469\u200d\U0001f4bb é\n\n\n", "x" * 5000, " "]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    train_tokenizer(TEXTS, TokenizerSpec(vocab_size=270)).save(str(folder / "tokenizer.json"))
    return folder


def make(work, tokenizer, train, heldout, workers=1, **options):
    for side, parts in (("train", train), ("heldout", heldout)):
        write(
            work / "split",
            *(documents(part, origin=f"{side}{number}") for number, part in enumerate(parts)),
            below=side,
        )
    inputs = {"documents": work / "split", "tokenizer": tokenizer}
    out = work / "job" / "out"
    out.mkdir(parents=True)
    artifacts = {role: artifact(path) for role, path in inputs.items()}
    job = Job("stage", "identity", artifacts, work / "job", out, Runtime(compute=ComputeSpec(workers=workers)))
    return shards.build(job, ShardsSpec(**options)).model_dump(), out


def test_files_and_figures(tmp_path, tokenizer):
    stats, out = make(tmp_path, tokenizer, [TEXTS[:60], HOSTILE, [], TEXTS[60:100]], [TEXTS[100:]])
    path = tokenizer / "tokenizer.json"
    encoder = load_tokenizer(path)
    parts = {"train": [TEXTS[:60], HOSTILE, [], TEXTS[60:100]], "heldout": [TEXTS[100:]]}
    table = pl.read_parquet(out / "documents.parquet")
    assert dict(table.schema) == shards.PLACES
    index = json.loads((out / "shards.json").read_text())
    assert index["tokenizer"] == file_digest(path)
    assert (index["dtype"], index["vocab_size"], index["eot"]) == ("uint16", 270, 0)
    used = set()
    for split in ("train", "heldout"):
        expected = [
            [[*encoder.encode(text, add_special_tokens=False).ids, 0] for text in part] for part in parts[split]
        ]
        total = sum(len(ids) for part in expected for ids in part)
        files = [f"{split}/{number:05d}.bin" for number, part in enumerate(expected) if part]
        assert sorted(file.relative_to(out).as_posix() for file in (out / split).glob("*.bin")) == files
        assert index["splits"][split] == {
            "tokens": total,
            "documents": sum(map(len, expected)),
            "shards": [
                {"file": file, "tokens": sum(map(len, part)), "documents": len(part), "source": "made"}
                for file, part in zip(files, filter(None, expected), strict=True)
            ],
        }
        opened = [open_shard(out / file) for file in files]
        for (header, tokens), part in zip(opened, filter(None, expected), strict=True):
            assert tokens.tolist() == [number for ids in part for number in ids]
            assert (header.vocab_size, header.tokenizer) == (270, file_digest(path))
        own = table.filter(split=split)
        assert np.load(out / split / "documents.npy").tolist() == [*own["stream_start"], total]
        flat = [(f"{split}{number}", row, ids) for number, part in enumerate(expected) for row, ids in enumerate(part)]
        for place, (origin, row, ids) in zip(own.iter_rows(named=True), flat, strict=True):
            assert opened[place["shard"]][1][place["token_start"] : place["token_end"]].tolist() == ids
            assert (place["origin"], place["row"]) == (origin, row)
        assert stats[f"{split}_tokens"] == stats[f"{split}_tokens_of_documents"] == total
        assert stats[f"{split}_documents"] == len(flat)
        size = sum(len(text.encode()) for part in parts[split] for text in part)
        assert stats[f"{split}_bytes_per_token"] == size / (total - len(flat))
        used |= {number for _, _, ids in flat for number in ids} if split == "train" else set()
    assert stats["end_of_text_tokens"] == stats["documents"] == 125
    assert stats["tokens_by_source"] == {"made": stats["train_tokens"] + stats["heldout_tokens"]}
    assert stats["round_trips"] >= 30
    assert (stats["shards"], stats["empty_parts"]) == (4, 1)
    assert stats["learned_entries"] == 270 - 257
    assert stats["unused_entries"] == len(set(range(257, 270)) - used)
    failed = [check.name for check in judged("token_shards", stats, max_unused_vocabulary=1) if not check.passed]
    assert failed == ["empty_parts"]


def test_a_source_is_one_run_of_shards(tmp_path, tokenizer):
    for split in ("train", "heldout"):
        write(
            tmp_path / "split",
            *(documents(TEXTS[:3], source=source) for source in ("web", "books", "web", "books-2")),
            below=split,
        )
    inputs = {"documents": tmp_path / "split", "tokenizer": tokenizer}
    stats = run(shards.build, tmp_path / "job", inputs, shards=ShardsSpec())
    index = json.loads((tmp_path / "job/out/shards.json").read_text())
    found = [(shard["source"], shard["file"]) for shard in index["splits"]["train"]["shards"]]
    assert found == [
        ("books", "train/00001.bin"),
        ("books-2", "train/00003.bin"),
        ("web", "train/00000.bin"),
        ("web", "train/00002.bin"),
    ]
    assert list(stats["tokens_by_source"]) == ["books", "books-2", "web"]
    table = pl.read_parquet(tmp_path / "job/out/documents.parquet").filter(split="train")
    assert table["stream_start"].is_sorted()
    assert table["source"].to_list() == ["books"] * 3 + ["books-2"] * 3 + ["web"] * 6


@settings(max_examples=15, deadline=None)
@given(
    texts=st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30), min_size=1, max_size=20),
    cut=st.integers(0, 20),
)
def test_parts_change_no_stream(tmp_path_factory, tokenizer, texts, cut):
    work = tmp_path_factory.mktemp("shards")
    _, one = make(work / "one", tokenizer, [texts], [["x"]])
    stats, other = make(work / "two", tokenizer, [texts[:cut], texts[cut:]], [["x"]])

    def stream(folder):
        index = json.loads((folder / "shards.json").read_text())
        return [
            number
            for shard in index["splits"]["train"]["shards"]
            for number in open_shard(folder / shard["file"])[1].tolist()
        ]

    assert stream(one) == stream(other)
    assert (one / "train/documents.npy").read_bytes() == (other / "train/documents.npy").read_bytes()
    found = judged("token_shards", stats, max_unused_vocabulary=1)
    assert all(check.passed for check in found if check.name != "empty_parts")


def test_workers_change_no_byte(tmp_path, tokenizer, monkeypatch):
    train, heldout = [TEXTS[:50], HOSTILE, TEXTS[50:]], [TEXTS[:3], TEXTS[3:6]]
    _, alone = make(tmp_path / "one", tokenizer, train, heldout, workers=1)
    _, together = make(tmp_path / "two", tokenizer, train, heldout, workers=3)
    assert digests(alone) == digests(together)


def test_a_part_is_made_once(tmp_path, tokenizer):
    train = [TEXTS[:50], TEXTS[50:]]
    make(tmp_path / "one", tokenizer, train, [TEXTS[:3]])
    inputs = {"documents": tmp_path / "one" / "split", "tokenizer": tokenizer}
    documents([*TEXTS[:49], "another"], origin="train0").write_parquet(inputs["documents"] / "train/00000.parquet")
    artifacts = {role: artifact(path) for role, path in inputs.items()}
    (tmp_path / "out").mkdir()
    runtime = Runtime(compute=ComputeSpec(workers=1))
    job = Job("stage", "identity", artifacts, tmp_path / "one/job", tmp_path / "out", runtime)
    shards.build(job, ShardsSpec())
    assert job.part_counts == {"found": 2, "made": 1}


def test_it_is_the_same_again(tmp_path, tokenizer, monkeypatch):
    _, first = make(tmp_path / "a", tokenizer, [TEXTS, HOSTILE], [TEXTS[:3]])
    monkeypatch.setattr(batches, "BATCH_BYTES", 50)
    _, second = make(tmp_path / "b", tokenizer, [TEXTS, HOSTILE], [TEXTS[:3]])
    assert digests(first) == digests(second)


@pytest.mark.parametrize("size", [65_536, 65_537])
def test_a_vocabulary_above_the_dtype_is_an_error(tmp_path, size):
    large = Tokenizer(models.BPE(vocab={f"entry{number}": number for number in range(1, size)}, merges=[]))
    large.add_special_tokens(["<|endoftext|>"])
    large.save(str(tmp_path / "tokenizer.json"))
    if size > 65_536:
        with pytest.raises(PedigreeError, match="uint16 holds 65536 ids, and the tokenizer has 65537; use uint32"):
            make(tmp_path, tmp_path, [TEXTS], [TEXTS[:3]])
    else:
        make(tmp_path, tmp_path, [TEXTS], [TEXTS[:3]])


def test_an_empty_split_closes_the_gate(tmp_path, tokenizer):
    stats, _ = make(tmp_path, tokenizer, [TEXTS], [[]])
    verdicts = {check.name: check.passed for check in judged("token_shards", stats, max_unused_vocabulary=1)}
    assert [name for name, passed in verdicts.items() if not passed] == ["not_empty"]


def test_unknown_text_is_no_failed_round_trip(tmp_path):
    tokenizer = train_tokenizer(["abc abd"] * 5, TokenizerSpec(vocab_size=300, byte_fallback=False))
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    stats, _ = make(tmp_path, tmp_path, [["abc", "abz", "ab d"]], [["zzz"]])
    assert (stats["round_trips"], stats["round_trips_failed"]) == (2, 0)


def test_wrong_counts_close_the_gate(tmp_path, tokenizer):
    stats, _ = make(tmp_path, tokenizer, [TEXTS], [TEXTS[:3]])
    for field, name in (
        ("train_tokens", "token_counts"),
        ("end_of_text_tokens", "document_ends"),
        ("misplaced_ends", "document_ends"),
        ("round_trips_failed", "round_trip"),
        ("empty_parts", "empty_parts"),
    ):
        changed = {**stats, field: stats[field] + 1, "unused_share": 0}
        failed = [check.name for check in judged("token_shards", changed) if not check.passed]
        assert failed == [name]
