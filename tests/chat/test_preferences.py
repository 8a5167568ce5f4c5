"""Pairs of answers, from their records to a model that prefers the chosen ones."""

import json
import math
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
import torch
from pydantic import ValidationError
from torch.nn import functional

from llm_core.chat.reading import Dropped, PairReader
from llm_core.chat.template import ChatTemplate
from llm_core.contracts.shards import write_shards
from llm_core.evals import preferences, reference
from llm_core.evals.preference_results import prefers_chosen
from llm_core.experiment.base import from_plain
from llm_core.experiment.chat import BUILT_IN
from llm_core.experiment.evaluation import ChecksSpec
from llm_core.experiment.preference import PreferenceSource, PreferenceSpec
from llm_core.experiment.runtime import ComputeSpec
from llm_core.graph.job import Job, Runtime
from llm_core.model.build import build_model
from llm_core.model.files import load_model, save_model
from llm_core.tokens.loader import open_loader
from llm_core.tokens.packing import Pairs
from llm_core.tokens.reader import ShardReader
from llm_core.train.spec import TrainerSpec
from tests.chat.stages import LENGTH, encode, gate, lines, read
from tests.data.stages import artifact
from tests.train.ranks import on_ranks
from tests.train.runs import model_spec, records, run, training_spec, weights
from tests.train.test_ranks import StopAfter, go_on

STEPS, ROWS, BETA, SMOOTHING = 12, 4, 0.5, 0.1
MODEL = model_spec(document_mask=True)
TRAINING = {
    "sequence_length": LENGTH,
    "batch_tokens": ROWS * LENGTH,
    "packing": "best_fit",
    "dpo": {"beta": BETA, "label_smoothing": SMOOTHING},
    "optimizer": {"lr": 1e-3, "weight_decay": 0.0},
    "schedule": "constant",
    "validate_every": 6,
    "guards": {"loss_floor": None},
}


def pair(number):
    """The chosen answer counts upwards. Every fourth record has two questions."""
    asked = [("user", f"What follows {number}?")]
    if number % 4 == 0:
        asked += [("assistant", f"{number + 1}."), ("user", "And then?")]
    return [
        [{"role": role, "content": content} for role, content in [*asked, ("assistant", answer)]]
        for answer in (f"{number + 1} follows.", f"No idea, {number}.")
    ]


def source(path=("pairs.jsonl",), **changes):
    form = {} if "prompt" in changes else {"chosen_messages": "chosen", "rejected_messages": "rejected"}
    return from_plain(PreferenceSource, {"name": "pairs", "paths": [str(path)], **form, **changes})


@pytest.fixture(scope="module")
def tuned(tmp_path_factory, tokenizer):
    """60 pairs: the folders of conversations, shards and reference, and of the model before the tuning."""
    folder = tmp_path_factory.mktemp("pairs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PEDIGREE_HOME", str(folder / "pedigree"))
        made = [dict(zip(("chosen", "rejected"), pair(number), strict=True)) for number in range(60)]
        read(folder / "read", source(lines(folder / "pairs.jsonl", made)))
        stats = encode(folder / "encoded", folder / "read" / "out", tokenizer)
    torch.manual_seed(3)
    save_model(build_model(MODEL, 300), MODEL, 300, folder / "start")
    shards = folder / "encoded" / "out"
    job = job_of(folder / "reference", shards=shards, model=folder / "start")
    found = reference.build(job, MODEL, LENGTH, "fp32")
    return SimpleNamespace(
        read=folder / "read" / "out", shards=shards, stats=stats, start=folder / "start", pairs=job.out, found=found
    )


def job_of(folder, **inputs):
    (folder / "out").mkdir(parents=True)
    runtime = Runtime(compute=ComputeSpec(device_type="cpu", micro_batch=2))
    artifacts = {role: artifact(path) for role, path in inputs.items()}
    return Job("stage", "identity", artifacts, folder, folder / "out", runtime)


@pytest.fixture
def spec(tuned, tokenizer, tmp_path):
    def make(name, steps=STEPS, **changes):
        training = training_spec(steps, **{**TRAINING, "tokens": steps * ROWS * LENGTH})
        fields = {"model": MODEL, "training": training, "vocab_size": 300, "seed": 5, "micro_batch": 2}
        fields |= {"shards": tuned.pairs, "start": tuned.start, "tokenizer": tokenizer, "checkpoint_every": 4}
        (tmp_path / name).mkdir()
        return TrainerSpec(**{**fields, "work": tmp_path / name, **changes})

    return make


def plain_nats(model, template, messages):
    """The nats of the last answer, by plain torch. The earlier ones cancel in a pair."""
    ids, targets = template.encode(messages)
    inputs = torch.tensor([[template.eot, *ids[:-1]]])
    logits = model(inputs, document_ids_BT=torch.zeros_like(inputs, dtype=torch.int32))[0]
    nats = functional.cross_entropy(logits, torch.tensor(ids), reduction="none")
    return (nats * torch.tensor(targets)).sum()


def test_the_loss_is_that_of_plain_torch(spec, tuned, tokenizer):
    """The reference knows no shards, packing, masks, micro-batches or weights of targets: it differentiates the
    formula of Rafailov et al. (2023), pair by pair, with a copy of the model that stays as it was."""
    ours = spec("ours")
    run(ours)
    template = ChatTemplate(BUILT_IN["plain"], tokenizer)
    model, frozen = load_model(tuned.start)[0], load_model(tuned.start)[0]
    table = pl.read_parquet(tuned.pairs / "documents.parquet").filter(pl.col("split") == "train")
    row_at = dict(table.select("stream_start", "row").iter_rows())
    loader = open_loader(tuned.pairs, ours.training, 5)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.0)
    losses = []
    for step in range(STEPS):
        numbers = [row_at[piece.start] for piece in loader.pieces(step)][::2]
        loss = torch.zeros(())
        for number in numbers:
            chosen, rejected = pair(number)
            ours_pair = [plain_nats(model, template, side) for side in (chosen, rejected)]
            with torch.no_grad():
                before = [plain_nats(frozen, template, side) for side in (chosen, rejected)]
            margin = BETA * ((before[0] - ours_pair[0]) - (before[1] - ours_pair[1]))
            loss = loss - (1 - SMOOTHING) * functional.logsigmoid(margin) - SMOOTHING * functional.logsigmoid(-margin)
        optimizer.zero_grad()
        (loss / len(numbers)).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(float(loss.detach()) / len(numbers))
    assert [record["loss"] for record in records(ours)] == pytest.approx(losses, abs=1e-5)
    assert losses[0] == pytest.approx(math.log(2), abs=1e-6)
    assert losses[-1] < 0.6

    # What the tuned model prefers, and the validation loss, from its likelihoods of the held-out pairs.
    job = job_of(ours.work / "margins", shards=tuned.pairs, model=ours.work / "final")
    found = preferences.build(job, MODEL, LENGTH, "fp32", BETA)
    written = [json.loads(line) for line in (job.out / "pairs.jsonl").read_text().splitlines()]
    model.eval()
    for line in written:
        chosen, rejected = pair(int(line["pair"].rpartition(":")[2]))
        with torch.no_grad():
            nats = [[float(plain_nats(one, template, side)) for side in (chosen, rejected)] for one in (frozen, model)]
        assert line["margin"] == pytest.approx(BETA * (nats[0][0] - nats[1][0] - nats[0][1] + nats[1][1]), abs=1e-3)
    margins = torch.tensor([line["margin"] for line in written], dtype=torch.float64)
    loss = -(1 - SMOOTHING) * functional.logsigmoid(margins) - SMOOTHING * functional.logsigmoid(-margins)
    assert records(ours)[-1]["validation_loss"] == pytest.approx(float(loss.mean()), abs=1e-5)
    assert records(ours)[0]["start_validation_loss"] == pytest.approx(math.log(2), abs=1e-5)
    assert found.pairs == len(written) == found.prompts
    assert found.margin.value == pytest.approx(float(margins.mean()))
    assert found.accuracy.value == float((margins > 0).double().mean())
    assert found.chosen_change.value - found.rejected_change.value == pytest.approx(found.margin.value / BETA)
    assert prefers_chosen(found, ChecksSpec()).passed


def test_a_killed_run_goes_on_bitwise_and_ranks_share_the_pairs(spec):
    straight, stopped, moved = spec("straight", steps=8), spec("stopped", steps=8), spec("moved", steps=8)
    run(straight)
    run(stopped, StopAfter(5))
    run(stopped)
    assert weights(stopped) == weights(straight)
    run(moved, StopAfter(3))
    assert on_ranks(2, go_on, moved, 2) == [5] * 2
    run(moved)
    assert [line["batch"] for line in records(moved)] == [line["batch"] for line in records(straight)]
    expected = [line["loss"] for line in records(straight)]
    assert [line["loss"] for line in records(moved)] == pytest.approx(expected, abs=1e-5)


def test_the_reference_is_read_as_it_was_written(tuned):
    loader = open_loader(tuned.pairs, training_spec(1, **TRAINING, tokens=ROWS * LENGTH), 5)
    nats = np.load(tuned.pairs / "train" / "reference.npy")
    reader = ShardReader(tuned.pairs, "train")
    whole = loader.reference(0)
    for piece, value in zip(loader.pieces(0), whole[whole > 0].tolist(), strict=True):
        assert value == nats[np.searchsorted(reader.offsets, piece.start)]
    assert loader.pairs(0) == len(loader.pieces(0)) // 2
    assert np.array_equal(whole[1::2, : loader.reference(0, 1, 2).shape[1]], loader.reference(0, 1, 2))
    assert tuned.found.pairs == {split: tuned.stats[f"{split}_conversations"] // 2 for split in ("train", "heldout")}
    assert tuned.found.not_finite == 0


def test_pairs_stay_together_and_those_that_do_not_fit_are_dropped(tmp_path):
    write_shards(tmp_path, {"train": {"a": [3, 4, 9, 9, 1, 2, 5, 6, 7]}})
    packed = Pairs(ShardReader(tmp_path, "train"), 12)
    starts, lengths, counts = packed.pieces(np.arange(packed.rows))
    assert sorted(zip(starts.tolist(), lengths.tolist(), strict=True)) == [
        (0, 3),
        (3, 4),
        (25, 1),
        (26, 2),
        (28, 5),
        (33, 6),
    ]
    rows = np.split(starts, np.cumsum(counts)[:-1])
    assert sorted(map(list, rows)) == [[0, 3, 25, 26], [28, 33]]
    assert packed.stats() == {"rows": 2, "dropped_tokens": 25, "padding": 3, "padding_share": 3 / 24}
    assert packed.rows_with(26, 34).tolist() == [0, 1]
    assert packed.rows_with(7, 25).tolist() == []


def test_the_mask_gate_reads_both_answers(tuned, tokenizer):
    found = gate(tuned.shards, tuned.stats, tuned.read, tokenizer)
    assert (found.conversations, found.wrong_targets, found.missing) == (120, 0, 0)
    parts = tuned.read / "parts"
    (path,) = parts.glob("*.parquet")
    swapped = pl.read_parquet(path).with_columns(pl.col("rejected").shift(1, fill_value="Other."))
    other = tuned.read.parent / "swapped"
    (other / "parts").mkdir(parents=True)
    swapped.write_parquet(other / "parts" / path.name)
    assert gate(tuned.shards, tuned.stats, other, tokenizer).wrong_targets == 60


def test_a_pair_that_is_too_long_is_left_out_whole(tmp_path, tokenizer):
    long = {"prompt": "Say much.", "chosen": "word " * 40, "rejected": "Short."}
    records = [long, *({"prompt": f"{n}?", "chosen": f"{n}.", "rejected": "No."} for n in range(40))]
    form = {"prompt": "{prompt}", "chosen": "{chosen}", "rejected": "{rejected}"}
    read(tmp_path / "read", source(lines(tmp_path / "pairs.jsonl", records), **form))
    stats = encode(tmp_path / "encoded", tmp_path / "read" / "out", tokenizer, sequence_length=64)
    assert (stats["too_long"], stats["train_conversations"] + stats["heldout_conversations"]) == (1, 80)


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"p": "Who?", "c": "Me.", "r": "Me. "}, "chosen equals rejected"),
        ({"p": "Who?", "c": "Me.", "r": " "}, "empty turn"),
        ({"p": "Who?", "c": "Me."}, "no field r"),
    ],
)
def test_faulty_pairs_are_dropped_with_their_reason(record, reason):
    found = PairReader(source(prompt="{p}", chosen="{c}", rejected="{r}")).conversation(0, record)
    assert isinstance(found, Dropped)
    assert found.reason == reason


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda chosen, rejected: rejected.pop(), "no answer"),
        (lambda chosen, rejected: rejected[0].update(content="Else?"), "the answers are to different turns"),
    ],
)
def test_faulty_lists_of_messages_are_dropped(change, reason):
    chosen, rejected = pair(1)
    change(chosen, rejected)
    found = PairReader(source()).conversation(0, {"chosen": chosen, "rejected": rejected})
    assert found.reason == reason


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"training": {"dpo": None}}, "dpo: can't be null here"),
        ({"training": {"packing": "pad"}}, "does not keep the answers of a pair together"),
        ({"training": {"z_loss": 1e-4}}, "does not go with z_loss"),
        ({"training": {"dpo": {"label_smoothing": 0.5}}}, "less than 0.5"),
        ({"sources": [{"name": "a", "paths": ["a"], "prompt": "{p}", "chosen": "{c}"}]}, "give either prompt, chosen"),
    ],
)
def test_settings_that_do_not_fit(changes, message):
    plain = {
        "sources": [{"name": "a", "paths": ["a"], "prompt": "{p}", "chosen": "{c}", "rejected": "{r}"}],
        "training": {"batch_tokens": 256, "tokens": 2560, "optimizer": {"lr": 1e-4}, **changes.pop("training", {})},
    }
    with pytest.raises(ValidationError, match=message):
        from_plain(PreferenceSpec, {**plain, **changes})
