import json

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models

from llm_core.errors import PedigreeError
from llm_core.experiment.evaluation import ChecksSpec
from llm_core.experiment.tokens import ShardsSpec, TokenizerSpec
from llm_core.store.digests import file_digest
from llm_core.tokens import batches, shards
from llm_core.tokens.loader import Loader, ShardReader
from llm_core.tokens.tokenizer import load_tokenizer, train_tokenizer
from tests.data.stages import digests, documents, run, write

TEXTS = [f"Text {number} with " + "some words " * (number % 13) for number in range(120)]
HOSTILE = ["<|endoftext|>", "a<|endoftext|>b", "\U0001f469\u200d\U0001f4bb é\n\n\n", "x" * 5000, " "]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    train_tokenizer(TEXTS, TokenizerSpec(vocab_size=270)).save(str(folder / "tokenizer.json"))
    return folder


def make(work, tokenizer, train, heldout, **options):
    for side, parts in (("train", train), ("heldout", heldout)):
        write(
            work / "split",
            *(documents(part, origin=f"{side}{number}") for number, part in enumerate(parts)),
            below=side,
        )
    stats = run(
        shards.build, work / "job", {"documents": work / "split", "tokenizer": tokenizer}, shards=ShardsSpec(**options)
    )
    return stats, work / "job" / "out"


def test_files_and_figures(tmp_path, tokenizer):
    stats, out = make(tmp_path, tokenizer, [TEXTS[:60], HOSTILE, TEXTS[60:100]], [TEXTS[100:]], tokens_per_shard=2000)
    encoder = load_tokenizer(tokenizer / "tokenizer.json")
    texts = {"train": [*TEXTS[:60], *HOSTILE, *TEXTS[60:100]], "heldout": TEXTS[100:]}
    table = pl.read_parquet(out / "documents.parquet")
    index = json.loads((out / "shards.json").read_text())
    assert index["tokenizer"] == file_digest(tokenizer / "tokenizer.json")
    assert (index["dtype"], index["vocab_size"], index["eot"]) == ("uint16", 270, 0)
    for split in ("train", "heldout"):
        expected = [[*encoder.encode(text, add_special_tokens=False).ids, 0] for text in texts[split]]
        files = sorted((out / split).glob("*.bin"))
        raw = [np.fromfile(path, "<u2") for path in files]
        assert np.concatenate(raw).tolist() == [number for ids in expected for number in ids]
        assert index["splits"][split] == {
            "tokens": sum(map(len, expected)),
            "documents": len(expected),
            "shards": [
                {"file": f"{split}/{path.name}", "tokens": len(ids)} for path, ids in zip(files, raw, strict=True)
            ],
        }
        own = table.filter(split=split)
        assert np.load(out / split / "documents.npy").tolist() == [*own["stream_start"], sum(map(len, expected))]
        for row, ids in zip(own.iter_rows(named=True), expected, strict=True):
            assert raw[row["shard"]][row["token_start"] : row["token_end"]].tolist() == ids
        assert stats[f"{split}_tokens"] == stats[f"{split}_tokens_of_documents"] == sum(map(len, expected))
        assert own["origin"].unique(maintain_order=True).to_list() == [
            f"{split}{n}" for n in range(own["origin"].n_unique())
        ]
    sizes = [shard["tokens"] for shard in index["splits"]["train"]["shards"]]
    assert len(sizes) >= 3
    assert sum(size > 2000 for size in sizes) == 1, "only the document that is larger than a shard"
    assert stats["end_of_text_tokens"] == stats["documents"] == 125
    assert stats["tokens_by_source"] == {"made": stats["train_tokens"] + stats["heldout_tokens"]}
    assert stats["round_trips"] > 50
    assert all(check.passed for check in shards.checks(stats, ChecksSpec()))


def test_the_loader_leads_back_to_documents(tmp_path, tokenizer):
    _, out = make(tmp_path, tokenizer, [TEXTS[:100]], [TEXTS[100:]], tokens_per_shard=700, dtype="uint32")
    reader = ShardReader(out, "train")
    table = pl.read_parquet(out / "documents.parquet").filter(split="train")
    encoder = load_tokenizer(tokenizer / "tokenizer.json")
    batch = Loader(reader, 16, 8, seed=3).batch(2)
    for inputs, ids in zip(batch.inputs_BT, batch.document_ids_BT, strict=True):
        number = int(ids[0])
        assert table["row"][number] == number
        piece = encoder.decode(inputs[ids == number].tolist(), skip_special_tokens=True).strip("\ufffd")
        assert piece in TEXTS[number]


@settings(max_examples=20, deadline=None)
@given(
    texts=st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30), min_size=1, max_size=20),
    cut=st.integers(0, 20),
    tokens_per_shard=st.integers(1, 100),
)
def test_parts_and_shards_change_no_stream(tmp_path_factory, tokenizer, texts, cut, tokens_per_shard):
    work = tmp_path_factory.mktemp("shards")
    _, one = make(work / "one", tokenizer, [texts], [["x"]])
    stats, other = make(work / "two", tokenizer, [texts[:cut], texts[cut:]], [["x"]], tokens_per_shard=tokens_per_shard)
    first, second = ShardReader(one, "train"), ShardReader(other, "train")
    assert first.read(0, first.tokens).tolist() == second.read(0, second.tokens).tolist()
    assert (one / "train/documents.npy").read_bytes() == (other / "train/documents.npy").read_bytes()
    assert all(check.passed for check in shards.checks(stats, ChecksSpec()))


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
    verdicts = {check.name: check.passed for check in shards.checks(stats, ChecksSpec())}
    assert verdicts == {"not_empty": False, "token_counts": True, "document_ends": True, "round_trip": True}


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
        ("round_trips_failed", "round_trip"),
    ):
        failed = [
            check.name for check in shards.checks({**stats, field: stats[field] + 1}, ChecksSpec()) if not check.passed
        ]
        assert failed == [name]
