"""Our trainer, and a stand-in with nanochat's interface and none of its ideas, on the same batches."""

import json
import math
import sys
from itertools import product

import numpy as np
import pytest
import torch

from benchmarks import nanochat
from benchmarks.nanochat_recipe import matrix_momentum, rate_share
from llm_core.experiment.base import from_plain
from llm_core.experiment.training import TrainingSpec
from llm_core.tokens.alphabet import ALPHABET
from llm_core.tokens.loader import open_loader
from tests.train.runs import VOCABULARY, write_shards

GPT = """
from dataclasses import dataclass
import torch
from torch import nn
from torch.nn.functional import cross_entropy

READ, GIVEN = [], []

@dataclass
class GPTConfig:
    sequence_len: int
    vocab_size: int
    window_pattern: str
    n_layer: int
    n_head: int
    n_kv_head: int
    n_embd: int

class GPT(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config, self.logits = config, nn.Parameter(torch.empty(config.vocab_size))

    def init_weights(self):
        nn.init.zeros_(self.logits)

    def num_scaling_params(self):
        return {"transformer_matrices": self.config.n_layer * self.config.n_embd, "lm_head": 0, "wte": 7}

    def setup_optimizer(self, **given):
        GIVEN.append(given)
        return torch.optim.SGD([{"params": [self.logits], "kind": "muon", "initial_lr": 0.0}], lr=1.0)

    def forward(self, idx, targets, loss_reduction="mean"):
        if loss_reduction == "mean":
            READ.append((idx, targets))
        logits = self.logits.expand(targets.numel(), -1)
        return cross_entropy(logits, targets.view(-1), ignore_index=-1, reduction=loss_reduction)
"""
OURS = """
raw: {sources: [{kind: python_docs}]}
model:
  d_model: 16
  n_layers: 1
  mixer: {kind: attention, n_heads: 1, n_kv_heads: 1}
  feed_forward: {kind: relu2, d_ff: 16}
training:
  sequence_length: 32
  batch_tokens: 256
  tokens: 25600
  schedule: {kind: wsd, warmup_steps: 10, cooldown_steps: 50}
"""


@pytest.fixture
def clone(tmp_path, monkeypatch):
    package = tmp_path / "clone" / "nanochat"
    package.mkdir(parents=True)
    (package / "gpt.py").write_text(GPT)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("NANOCHAT_DTYPE", "")
    yield tmp_path / "clone"
    for name in ("nanochat.gpt", "nanochat"):
        sys.modules.pop(name, None)


@pytest.fixture
def text(tmp_path):
    """All entries but the special one have two bytes."""
    vocab = {a + b: number for number, (a, b) in zip(range(1, VOCABULARY), product(ALPHABET, repeat=2), strict=False)}
    written = {"model": {"type": "BPE", "vocab": vocab}, "added_tokens": [{"content": "<>", "id": 0, "special": True}]}
    tokenizer = tmp_path / "tokenizer.json"
    tokenizer.write_text(json.dumps(written))
    return nanochat.Text(write_shards(tmp_path / "shards"), tokenizer, 512)


def test_the_table(clone, text, tmp_path, monkeypatch, capsys) -> None:
    (tmp_path / "ours.yaml").write_text(OURS)
    order = f"--nanochat {clone} --text text.jsonl --ours {tmp_path / 'ours.yaml'} --multiples 4 --seeds 1 --steps 3"
    order += " --eager --batch-tokens 256 --sequence-length 32 --depth 3 --width 64 --rounds 1"
    monkeypatch.setattr(nanochat, "made", lambda *_: text)
    monkeypatch.setattr(nanochat, "VOCABULARY", VOCABULARY)
    monkeypatch.setattr(sys, "argv", ["nanochat.py", *order.split()])
    threads = torch.get_num_threads()
    try:
        nanochat.main()
    finally:
        torch.set_num_threads(threads)
    lines = capsys.readouterr().out.splitlines()
    (_, *ours), (_, *theirs) = (
        [cell.strip() for cell in line.split("|")[1:-1]] for line in lines if " by 32 |" in line
    )
    assert ours[1:3] == theirs[1:3] == ["256 by 32", "1"]
    assert ours[4:6] == theirs[4:6] == ["3", "768"]
    # Its logits stay 0. So a token costs log2(V) bits, and has two bytes.
    assert float(theirs[3]) == pytest.approx(math.log2(VOCABULARY) / 2, abs=1e-4)
    assert "Batches of 256 by 32, seed 1: equal for 2 runs." in lines

    read, given = sys.modules["nanochat.gpt"].READ, sys.modules["nanochat.gpt"].GIVEN[-1]
    loader = open_loader(text.shards, TrainingSpec(sequence_length=32, batch_tokens=256, tokens=768), 1)
    assert len(read) == 3
    for step, parts in enumerate(read):
        assert all(np.array_equal(part, own) for part, own in zip(parts, loader.batch(step)[:2], strict=True))
    root = math.sqrt(256 / 2**19)
    assert given["matrix_lr"] == pytest.approx(0.02 * 4 * root)
    assert given["weight_decay"] == pytest.approx(0.28 * root * (12 * 768) / (3 * 64))


def test_nanochats_schedules() -> None:
    """Values by its ``base_train.py`` for a run of 1,000 steps."""
    assert [round(rate_share(step, 1000), 3) for step in (0, 39, 350, 675, 999)] == [0.025, 1.0, 1.0, 0.525, 0.051]
    assert [round(matrix_momentum(step, 1000), 4) for step in (0, 200, 400, 999)] == [0.85, 0.91, 0.9646, 0.9001]
    assert matrix_momentum(500, 2000) == 0.97


def test_phases_keep_their_shares() -> None:
    fields = {
        "batch_tokens": 512,
        "tokens": 512 * 80 + 256 * 20,
        "batch_schedule": [{"from_step": 0, "batch_tokens": 256}, {"from_step": 20, "batch_tokens": 512}],
        "schedule": {"kind": "wsd", "warmup_steps": 10, "cooldown_steps": 50},
    }
    training = from_plain(TrainingSpec, fields)
    assert training.steps == 100
    short = nanochat.of_steps(training, 10)
    assert (short.steps, short.tokens, short.precision) == (10, 2 * 256 + 8 * 512, "fp32")
    assert (short.schedule.warmup_steps, short.schedule.cooldown_steps) == (1, 5)


def test_steps_that_compile_are_not_counted() -> None:
    outcome = nanochat.Outcome(1.0, [(8, 90.0), (8, 1.0), (8, 3.0), (16, 70.0), (16, 5.0), (16, 5.0)], [])
    assert outcome.seconds() == (3 + 1 + 3) + (5 + 5 + 5)
    assert outcome.seconds(typical=True) == 3 * 3 + 3 * 5


def test_the_speed_of_a_side_is_its_fastest_round(text) -> None:
    taken = iter([2.0, 9.0, 3.0, 8.0])  # two sides in turns

    def run(given, steps, seed):
        assert given.validation_tokens == 1
        return nanochat.Outcome(1.0, [(8, next(taken))] * steps, [])

    sides = [nanochat.Side(name, torch.nn.Module(), "8 by 8", run) for name in ("a", "b")]
    assert nanochat.measured(sides, text, 2) == [2.0, 8.0]
