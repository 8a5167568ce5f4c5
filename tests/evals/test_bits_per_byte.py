"""Bits per byte while training are those of the evals, on the same text."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from lm_eval.api.instance import Instance

from llm_core.evals.lm import PedigreeLM
from llm_core.experiment.model import ModelSpec
from llm_core.experiment.training import TrainingSpec
from llm_core.model.build import build_model
from llm_core.model.files import load_model
from llm_core.tokens.byte_lengths import byte_lengths
from llm_core.tokens.reader import ShardReader
from llm_core.tokens.shard_file import write_shard
from llm_core.train.spec import TrainerSpec
from llm_core.train.validation import measure
from tests.evals.conftest import SPEC, World, text
from tests.train.runs import ALONE


def heldout(folder: Path, world: World, texts: list[str]) -> ShardReader:
    """Shards whose held-out split is ``texts``."""
    documents = [[*world.tokenizer.encode(one, add_special_tokens=False).ids, world.eot] for one in texts]
    ids, size = np.concatenate(documents), world.tokenizer.get_vocab_size()
    (folder / "heldout").mkdir(parents=True)
    write_shard(folder / "heldout/made-0.bin", ids, dtype="uint16", vocab_size=size, tokenizer="0" * 32)
    np.save(folder / "heldout" / "documents.npy", np.cumsum([0, *map(len, documents)], dtype=np.int64))
    shards = [{"file": "heldout/made-0.bin", "tokens": len(ids), "source": "made"}]
    split = {"tokens": len(ids), "documents": len(documents), "shards": shards}
    index = {"dtype": "uint16", "vocab_size": size, "eot": world.eot, "tokenizer": "0" * 32}
    (folder / "shards.json").write_text(json.dumps({**index, "splits": {"heldout": split}}))
    return ShardReader(folder, "heldout")


@pytest.mark.parametrize("micro_batch", [1, 8])
def test_training_and_evals_agree(world: World, tmp_path: Path, micro_batch: int) -> None:
    texts = [text(number, words) for number, words in enumerate((5, 60, 23, 1))]
    reader = heldout(tmp_path, world, texts)
    model = build_model(SPEC.model_copy(update={"document_mask": True}), reader.vocab_size)
    model.load_state_dict(load_model(world.folder / "model")[0].state_dict())
    length = reader.tokens  # one window holds all documents, and each sees itself alone
    spec = TrainerSpec(
        model=ModelSpec.model_validate({**SPEC.model_dump(), "document_mask": True}),
        training=TrainingSpec(
            sequence_length=length, batch_tokens=length, tokens=length, validation_tokens=length, precision="fp32"
        ),
        vocab_size=reader.vocab_size,
        seed=1,
        shards=tmp_path,
        work=tmp_path,
        micro_batch=micro_batch,
    )
    lengths = torch.from_numpy(byte_lengths(world.folder / "tokenizer/tokenizer.json", reader.vocab_size))
    measured = measure(model, reader, spec, ALONE, lengths)
    assert measured.bits_per_byte is not None
    lm = PedigreeLM(model, world.tokenizer, world.eot, length, 4, 1, lambda *_: None)
    requests = [Instance("loglikelihood_rolling", {}, (one,), index) for index, one in enumerate(texts)]
    bits = -sum(lm.loglikelihood_rolling(requests)) / math.log(2)
    sizes = sum(len(one.encode()) for one in texts)
    assert float(measured.bits_per_byte) == pytest.approx(bits / sizes, rel=1e-6)
    # The loss counts the ends of documents, which have no bytes.
    assert float(measured.loss) * length / math.log(2) / sizes != pytest.approx(bits / sizes, rel=1e-3)
    assert measure(model, reader, spec, ALONE).bits_per_byte is None
