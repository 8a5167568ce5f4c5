"""What a run keeps of every validation window."""

import json
import math

import numpy as np
import pytest
import torch
from torch import nn

from llm_core.errors import PedigreeError
from llm_core.model.decoder import Losses
from llm_core.tokens.reader import ShardReader
from llm_core.train.validation import measure
from llm_core.train.validation_windows import WINDOWS, main_documents, write_windows
from tests.train.ranks import on_ranks
from tests.train.runs import ALONE, VOCABULARY, records, run, trainer_spec, write_shards
from tests.train.test_loop import StopAfter
from tests.train.test_ranks import go_on


def windows(spec):
    return [json.loads(line) for line in (spec.work / "final" / WINDOWS).read_text().splitlines()]


def totals(spec):
    """Validation loss and bits per byte, from the windows."""
    nats, tokens, text_nats, size = (
        sum(window[name] for window in windows(spec)) for name in ("nats", "tokens", "text_nats", "bytes")
    )
    return nats / tokens, text_nats / math.log(2) / size


def reported(spec):
    return records(spec)[-1]["validation_loss"], records(spec)[-1]["validation_bits_per_byte"]


def test_the_windows_of_any_micro_batch_and_number_of_ranks_give_the_loss_of_the_run(tmp_path):
    tokenizer = tmp_path / "tokenizer.json"
    vocab = {"a" * number: number for number in range(1, VOCABULARY)}  # and 0 is the end of text, without bytes
    tokenizer.write_text(json.dumps({"model": {"type": "BPE", "vocab": vocab}}))
    specs = {
        name: trainer_spec(tmp_path, 2, micro_batch=rows, work=tmp_path / name, tokenizer=tokenizer)
        for name, rows in (("one", 1), ("three", 3), ("ranks", 2))
    }
    run(specs["one"])
    run(specs["three"])
    specs["ranks"].work.mkdir()
    assert on_ranks(2, go_on, specs["ranks"], 99) == [2] * 2
    told = windows(specs["one"])
    assert len(told) == 1024 // 32
    assert {name: told[3][name] for name in ("number", "tokens")} == {"number": 3, "tokens": 32}
    for spec in specs.values():
        assert totals(spec) == reported(spec)
        for ours, theirs in zip(windows(spec), told, strict=True):
            assert ours == {**theirs, "nats": ours["nats"], "text_nats": ours["text_nats"]}
            assert ours["nats"] == pytest.approx(theirs["nats"], rel=1e-5)
    starts, offsets = [window["start_token"] for window in told], ShardReader(tmp_path / "shards", "heldout").offsets
    assert [window["document"] for window in told] == main_documents(offsets, np.array(starts), 32)


class Drawn(nn.Module):
    """Losses from tiny to large, of which fp64 sums depend on their order."""

    def forward(self, inputs_BT, _targets_BT, _ids_BT, each):
        assert each
        torch.manual_seed(int(inputs_BT.sum()))
        return Losses(None, torch.exp(torch.empty(inputs_BT.shape).uniform_(-20, 3)))


def test_sums_of_windows_are_exact_in_every_order(tmp_path):
    spec = trainer_spec(tmp_path, 1, training={"validation_tokens": 20_000}, shards=tmp_path / "many", micro_batch=1)
    reader = ShardReader(write_shards(tmp_path / "many", heldout=24_000), "heldout")
    measured = measure(Drawn(), reader, spec, ALONE, torch.ones(VOCABULARY, dtype=torch.int64))
    nats, text_nats, size = measured.windows_3W.tolist()
    assert len(nats) == 20_000 // 32
    for values in (nats, nats[::-1], sorted(nats)):
        assert sum(values) / (len(values) * 32) == float(measured.loss)
    assert sum(text_nats) / math.log(2) / sum(size) == float(measured.bits_per_byte)


def test_a_run_that_stops_after_its_last_step_has_them_too(tmp_path):
    spec = trainer_spec(tmp_path, 4)
    run(spec, StopAfter(4))
    before = (spec.work / "final" / WINDOWS).read_bytes()
    run(spec)
    assert (spec.work / "final" / WINDOWS).read_bytes() == before
    assert len(records(spec)) == 4


def test_a_window_belongs_to_the_document_with_most_of_its_tokens():
    offsets = np.array([0, 5, 6, 7, 20, 40])
    assert main_documents(offsets, np.array([0, 4, 16, 17, 24, 30]), 8) == [0, 3, 3, 4, 4, 4]
    assert main_documents(offsets, np.array([3]), 4) == [0], "of equal shares, the first"


def test_what_is_unknown_or_not_finite_is_null(tmp_path):
    reader = ShardReader(write_shards(tmp_path / "shards"), "heldout")
    table = np.array([[math.inf, 2.5], [math.nan, 1.5], [7.0, 8.0]])
    for has_bytes, second in ((True, (2.5, 1.5, 8)), (False, (2.5, None, None))):
        write_windows(tmp_path / "w.jsonl", reader, np.array([0, 32]), 32, np.array([32, 32]), table, has_bytes)
        lines = [json.loads(line) for line in (tmp_path / "w.jsonl").read_text().splitlines()]
        assert (lines[0]["nats"], lines[0]["text_nats"]) == (None, None)
        assert tuple(lines[1][name] for name in ("nats", "text_nats", "bytes")) == second


def test_a_file_that_can_not_be_written_is_told(tmp_path):
    reader = ShardReader(write_shards(tmp_path / "shards"), "heldout")
    (tmp_path / "w.jsonl").mkdir()
    with pytest.raises(PedigreeError, match=r"w\.jsonl: can't be written"):
        write_windows(tmp_path / "w.jsonl", reader, np.array([0]), 32, np.array([32]), np.ones((3, 1)), True)
