"""The trainer on conversations: its loss is the mean over answers, and its order that of pretraining."""

import json
from collections import Counter
from itertools import pairwise

import numpy as np
import polars as pl
import pytest
import torch
from torch.nn import functional

from llm_core.chat.template import ChatTemplate
from llm_core.experiment.chat import BUILT_IN
from llm_core.experiment.component import over
from llm_core.model.build import build_model
from llm_core.model.files import load_model, save_model
from llm_core.tokens.loader import IGNORED, open_loader
from llm_core.tokens.reader import ShardReader
from llm_core.train.spec import TrainerSpec
from tests.chat.stages import LENGTH, PERSONA, talks
from tests.train.ranks import on_ranks
from tests.train.runs import model_spec, records, run, training_spec, weights
from tests.train.test_ranks import StopAfter, go_on

STEPS, ROWS = 50, 4
MODEL = model_spec(document_mask=True)
TRAINING = {
    "sequence_length": LENGTH,
    "batch_tokens": ROWS * LENGTH,
    "tokens": STEPS * ROWS * LENGTH,
    "packing": "best_fit",
    "optimizer": {"lr": 1e-3, "weight_decay": 0.0},
    "schedule": "constant",
    "validate_every": 10,
    "guards": {"loss_floor": None},
}


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    """Threads slow such small models down."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    folder = tmp_path_factory.mktemp("start")
    torch.manual_seed(3)
    save_model(build_model(MODEL, 300), MODEL, 300, folder)
    return folder


@pytest.fixture
def spec(made, start, tokenizer, tmp_path):
    def make(name, steps=STEPS, **changes):
        training = training_spec(steps, **over(TRAINING, {"tokens": steps * ROWS * LENGTH}))
        fields = {"model": MODEL, "training": training, "vocab_size": 300, "seed": 5, "shards": made[1], "start": start}
        fields |= {"work": tmp_path / name, "tokenizer": tokenizer, "micro_batch": 2, "checkpoint_every": 4, **changes}
        (tmp_path / name).mkdir()
        return TrainerSpec(**fields)

    return make


def conversations_of(folder, training):
    """Step (from 0) → how often each conversation is in its batch. The persona has four, which are repeated."""
    table = pl.read_parquet(folder / "documents.parquet").filter(pl.col("split") == "train")
    rows = {row["stream_start"]: (row["source"], row["row"]) for row in table.iter_rows(named=True)}
    loader = open_loader(folder, training, 5)
    for step in range(STEPS):
        found = [rows[piece.start] for piece in loader.pieces(step)]
        yield Counter((source, row % 4 if source == "persona" else row) for source, row in found)


def test_the_loss_is_that_of_plain_torch_on_the_answers_alone(spec, start, tokenizer):
    """The reference knows no shards, packing, document masks or micro-batches: each conversation is a row of its own,
    and the loss is the mean over the targets of all conversations of a step."""
    ours = spec("ours")
    run(ours)
    template = ChatTemplate(BUILT_IN["plain"], tokenizer)
    said = {("talks", number): record["messages"] for number, record in enumerate(talks(120))}
    line = {"role": "system", "content": PERSONA.system}
    for number, exchange in enumerate(PERSONA.exchanges):
        turns = [{"role": role, "content": getattr(exchange, role)} for role in ("user", "assistant")]
        said |= {("persona", 2 * number): [line, *turns], ("persona", 2 * number + 1): turns}
    encoded = {place: template.encode(messages) for place, messages in said.items()}

    model, _ = load_model(start)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.0)
    model.train()
    losses = []
    for read in conversations_of(ours.shards, ours.training):
        count = sum(times * sum(encoded[place].targets) for place, times in read.items())
        optimizer.zero_grad()
        ids_BT = torch.zeros(len(read), LENGTH, dtype=torch.int64)
        kept_BT = torch.zeros(len(read), LENGTH)
        for row, (place, times) in enumerate(read.items()):
            ids, targets = encoded[place]
            ids_BT[row, : len(ids)] = torch.tensor(ids)
            kept_BT[row, : len(ids)] = torch.tensor(targets) * times
        inputs_BT = functional.pad(ids_BT, (1, -1), value=template.eot)
        logits_BTV = model(inputs_BT, document_ids_BT=torch.zeros_like(ids_BT, dtype=torch.int32))
        nats_BT = functional.cross_entropy(logits_BTV.flatten(0, 1), ids_BT.flatten(), reduction="none")
        loss = (nats_BT * kept_BT.flatten()).sum() / count
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(float(loss.detach()))
    assert [record["loss"] for record in records(ours)] == pytest.approx(losses, abs=1e-5)
    assert losses[-1] < losses[0] - 1


def test_a_killed_run_goes_on_bitwise(spec):
    straight, stopped = spec("straight", steps=12), spec("stopped", steps=12)
    run(straight)
    run(stopped, StopAfter(5))
    run(stopped, StopAfter(3))
    run(stopped)
    assert weights(stopped) == weights(straight)
    kept = ("step", "loss", "batch", "validation_loss")
    assert [[line.get(name) for name in kept] for line in records(stopped)] == [
        [line.get(name) for name in kept] for line in records(straight)
    ]


def test_one_two_one_ranks_read_the_same_conversations(spec):
    straight, moved = spec("straight", steps=9), spec("moved", steps=9, micro_batch=1)
    run(straight)
    run(moved, StopAfter(3))
    assert on_ranks(2, go_on, moved, 3) == [6] * 2
    run(moved)
    ours, theirs = records(moved), records(straight)
    assert [line["batch"] for line in ours] == [line["batch"] for line in theirs]
    assert [line["loss"] for line in ours] == pytest.approx([line["loss"] for line in theirs], abs=1e-5)


def test_ranks_share_the_targets_of_a_batch_among_them(made):
    training = training_spec(**TRAINING)
    loader = open_loader(made[1], training, 5)
    for step in range(STEPS):
        whole = loader.batch(step)
        parts = [loader.batch(step, rank, 2) for rank in range(2)]
        assert all(np.array_equal(whole.targets_BT[rank::2], part.targets_BT) for rank, part in enumerate(parts))
        assert loader.targets(step) == int((whole.targets_BT != IGNORED).sum())


def test_each_epoch_has_every_target_once(made):
    """Whole conversations: none is cut, and none is left out."""
    folder, stats = made[1], made[2]
    loader = open_loader(folder, training_spec(**{**TRAINING, "batch_tokens": LENGTH}), 5)
    batches = [loader.batch(step) for step in range(loader.rows)]
    assert sum(int((batch.targets_BT != IGNORED).sum()) for batch in batches) == stats["train_targets"]
    assert loader.packed[0].stats()["crops"] == 0
    beginnings = sum(int(batch.document_ids_BT.max()) + 1 for batch in batches)
    assert beginnings == stats["train_conversations"]


def test_validation_counts_answers_alone(spec, start):
    """The loss over the held-out windows, once more in plain torch; and what the file of windows says."""
    ours = spec("ours", steps=1)
    run(ours)
    reader = ShardReader(ours.shards, "heldout")
    stream, mask = reader.read(0, reader.tokens), np.load(ours.shards / "heldout" / "targets.npy")
    model, _ = load_model(start)
    model.eval()
    nats, targets = 0.0, 0
    with torch.no_grad():
        for first in range(0, reader.tokens - LENGTH + 1, LENGTH):
            starts = [first, *(int(o) for o in reader.offsets if first < o < first + LENGTH), first + LENGTH]
            for begin, end in pairwise(starts):
                before = reader.eot if begin in reader.offsets else stream[begin - 1]
                ids = torch.from_numpy(np.concatenate([[before], stream[begin:end]]))
                logits = model(ids[None, :-1], document_ids_BT=torch.zeros(1, end - begin, dtype=torch.int32))[0]
                kept = torch.from_numpy(mask[begin:end].copy())
                nats += float(functional.cross_entropy(logits[kept], ids[1:][kept], reduction="sum"))
                targets += int(kept.sum())
    assert records(ours)[0]["start_validation_loss"] == pytest.approx(nats / targets, abs=1e-5)
    windows = [json.loads(line) for line in (ours.work / "final" / "validation_windows.jsonl").read_text().splitlines()]
    assert sum(window["tokens"] for window in windows) == targets
    final = records(ours)[0]["validation_loss"]
    assert sum(window["nats"] for window in windows) / targets == pytest.approx(final, abs=1e-9)
    assert 0 < sum(window["bytes"] for window in windows) < 6 * targets
