"""A small world: documents, a byte-level tokenizer, shards and a model with random weights."""

import json
import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from llm_core.experiment.model import ModelSpec
from llm_core.graph.job import Job
from llm_core.model.build import build_model
from llm_core.model.feed_forwards.gated.spec import SwiGLU
from llm_core.model.files import save_model
from llm_core.model.mixers.attention.spec import Attention
from llm_core.store.manifest import Artifact, Manifest
from llm_core.tokens.shard_file import write_shard

EOT = "<|endoftext|>"
SENTENCE = (
    "the list of a file and returns value when object is raised that string with module for each ünïcode λ 42 x=1"
)
WORDS = SENTENCE.split()
SPEC = ModelSpec(d_model=32, n_layers=2, mixer=Attention(n_heads=4, n_kv_heads=2), feed_forward=SwiGLU(d_ff=64))


def text(seed: int, words: int) -> str:
    generator = random.Random(seed)
    return " ".join(generator.choice(WORDS) for _ in range(words)) + f"\n\nend {seed} {EOT}"


def manifest(stage: str) -> Manifest:
    return Manifest(
        kind=stage, stage=stage, experiment="test", identity="0" * 32, content="1" * 32, code_digest="", code={},
        config={}, source_digests={}, inputs=[], files=[], checks=[], stats={}, started="2026-01-01T00:00:00+00:00",
        seconds=1.0, versions={}, git_commit=None, git_dirty=None, host="here", device="cpu",
    )  # fmt: skip


@dataclass
class World:
    folder: Path
    tokenizer: Tokenizer
    eot: int
    train_ids: list[int]

    def job(self, work: Path) -> Job:
        (work / "out").mkdir(parents=True)
        inputs = {
            role: Artifact(self.folder / role, manifest(role)) for role in ("documents", "tokenizer", "shards", "model")
        }
        return Job("eval_results", "2" * 32, inputs, work, work / "out")


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("world")
    train, heldout = [text(i, 60) for i in range(40)], [text(1000 + i, 40 + 7 * (i % 9)) for i in range(30)]

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320, special_tokens=[EOT], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(train, trainer)
    (folder / "tokenizer").mkdir()
    tokenizer.save(str(folder / "tokenizer" / "tokenizer.json"))
    tokenizer.encode_special_tokens = True
    eot = tokenizer.token_to_id(EOT)

    for split, texts in (("train", train), ("heldout", heldout)):
        (folder / "documents" / split).mkdir(parents=True)
        frame = pl.DataFrame({"doc_id": [f"{split}{i:04d}" for i in range(len(texts))], "text": texts})
        frame.write_parquet(folder / "documents" / split / "00000.parquet")

    documents = [[*tokenizer.encode(t, add_special_tokens=False).ids, eot] for t in train]
    ids = [token for document in documents for token in document]
    (folder / "shards" / "train").mkdir(parents=True)
    shard = folder / "shards" / "train" / "made-000.bin"
    vocab_size, digest = tokenizer.get_vocab_size(), "0" * 32
    write_shard(shard, np.array(ids), dtype="uint16", vocab_size=vocab_size, tokenizer=digest)
    np.save(folder / "shards" / "train" / "documents.npy", np.cumsum([0, *map(len, documents)], dtype=np.int64))
    index = {
        "dtype": "uint16", "vocab_size": vocab_size, "eot": eot, "tokenizer": digest,
        "splits": {"train": {"tokens": len(ids), "documents": len(documents),
                             "shards": [{"file": "train/made-000.bin", "tokens": len(ids), "source": "made"}]}},
    }  # fmt: skip
    (folder / "shards" / "shards.json").write_text(json.dumps(index))

    torch.manual_seed(0)
    model = build_model(SPEC, tokenizer.get_vocab_size())
    with torch.no_grad():
        for parameter in model.parameters():  # far enough from uniform that a wrong position shows
            parameter.add_(0.2 * torch.randn_like(parameter))
    save_model(model, SPEC, tokenizer.get_vocab_size(), folder / "model", step=1, tokens=1)
    return World(folder, tokenizer, eot, ids)
