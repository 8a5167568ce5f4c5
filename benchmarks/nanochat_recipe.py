"""nanochat's model and optimiser, imported from a clone, on our batches (Karpathy, nanochat, 2025–2026).

Model and optimiser are its own. Its training script runs at import, so the settings and schedules that it computes are
written down here, as of its commit 92d63d4: rates, decay and momentum of a run with ``--num-iterations``.
"""

import contextlib
import math
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from llm_core.tokens.loader import IGNORED, Batch

BATCH = 2**19
"""The batch, in tokens, for which its rates are given. Rates go with the root of the batch."""
RATES = {"unembedding_lr": 0.008, "embedding_lr": 0.3, "matrix_lr": 0.02, "scalar_lr": 0.5}
DECAY = 0.28
"""Of the matrices, at ``BATCH`` and for the model of ``REFERENCE``."""
REFERENCE = {"n_layer": 12, "n_head": 6, "n_kv_head": 6, "n_embd": 768}
WARMUP, COOLDOWN_SHARE, FINAL_SHARE = 40, 0.65, 0.05
MOMENTA, MOMENTUM_STEPS = (0.85, 0.97, 0.90), 400
"""The momentum of matrices at the first step, after ``MOMENTUM_STEPS``, and at the end."""


@dataclass(frozen=True)
class Shape:
    """``window``: its pattern of long (L) and short (S) windows. One head per 128 channels is its rule."""

    depth: int
    width: int
    heads: int
    window: str


def import_nanochat(path: Path) -> Any:
    """Its module ``gpt`` from the clone at ``path``, computing in fp32."""
    if not (path / "nanochat" / "gpt.py").is_file():
        raise SystemExit(f"--nanochat {path}: has no nanochat/gpt.py; give a clone of github.com/karpathy/nanochat")
    os.environ["NANOCHAT_DTYPE"] = "float32"
    sys.path.insert(0, str(path))
    from nanochat import gpt  # type: ignore[import-not-found, unused-ignore]

    return gpt


class Nanochat:
    """One model with its optimiser, for a run of ``steps`` batches of ``tokens`` tokens."""

    def __init__(
        self,
        gpt: Any,
        shape: Shape,
        vocab_size: int,
        length: int,
        tokens: int,
        steps: int,
        multiple: float,
        seed: int,
        compiled: bool,
    ) -> None:
        self._steps = steps
        common = {"sequence_len": length, "vocab_size": vocab_size, "window_pattern": shape.window}
        own = {"n_layer": shape.depth, "n_head": shape.heads, "n_kv_head": shape.heads, "n_embd": shape.width}
        with contextlib.redirect_stdout(sys.stderr):
            with torch.device("meta"):
                self.model = gpt.GPT(gpt.GPTConfig(**common, **own))
                reference = gpt.GPT(gpt.GPTConfig(**common, **REFERENCE))
            self.model.to_empty(device="cpu")
            torch.manual_seed(seed)
            self.model.init_weights()
            root = math.sqrt(tokens / BATCH)
            self._decay = DECAY * root * _scaled(reference) / _scaled(self.model)
            rates = {name: rate * root * multiple for name, rate in RATES.items()}
            self._optimizer = self.model.setup_optimizer(**rates, weight_decay=self._decay)
        self._called = torch.compile(self.model, dynamic=False) if compiled else self.model

    def step(self, step: int, batch: Batch) -> None:
        """Train on the batch of ``step`` (from 0)."""
        inputs_BT, targets_BT = (torch.from_numpy(part).contiguous() for part in batch[:2])
        self._called(inputs_BT, _targets(targets_BT)).backward()
        share, momentum = rate_share(step, self._steps), matrix_momentum(step, self._steps)
        decay = self._decay * (1 + math.cos(math.pi * step / self._steps)) / 2
        for group in self._optimizer.param_groups:
            group["lr"] = group["initial_lr"] * share
            if group["kind"] == "muon":
                group.update(momentum=momentum, weight_decay=decay)
        self._optimizer.step()
        self.model.zero_grad(set_to_none=True)


class Scored(nn.Module):
    """Its model as ``llm_core.train.validation`` calls ours: the loss of each token, (B, T)."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self._model = model

    def forward(self, inputs_BT: Tensor, targets_BT: Tensor, ids_BT: Tensor, each: bool) -> SimpleNamespace:
        """It has no document mask."""
        del ids_BT
        assert each
        losses = self._model(inputs_BT.contiguous(), _targets(targets_BT.contiguous()), loss_reduction="none")
        return SimpleNamespace(cross_entropy=losses.view(targets_BT.shape))


def _targets(targets_BT: Tensor) -> Tensor:
    """With its own number for what is no target."""
    return torch.where(targets_BT == IGNORED, -1, targets_BT)


def _scaled(model: Any) -> int:
    """The parameters that its rules count: those of the blocks and of the head."""
    counts: Mapping[str, int] = model.num_scaling_params()
    return counts["transformer_matrices"] + counts["lm_head"]


def rate_share(step: int, steps: int) -> float:
    """The share of the peak rate: warm-up, constant, linear to ``FINAL_SHARE``."""
    falling = round(COOLDOWN_SHARE * steps)
    if step < WARMUP:
        return (step + 1) / WARMUP
    if step <= steps - falling:
        return 1.0
    return FINAL_SHARE + (1 - FINAL_SHARE) * (steps - step) / falling


def matrix_momentum(step: int, steps: int) -> float:
    """It rises linearly for ``MOMENTUM_STEPS``, also when the cooldown has begun, and falls in the rest of that."""
    first, most, last = MOMENTA
    falling = round(COOLDOWN_SHARE * steps)
    if step < MOMENTUM_STEPS:
        return first + (most - first) * step / MOMENTUM_STEPS
    return most + (last - most) * max(0.0, 1 - (steps - step) / falling)
