"""The loss on held-out text."""

import numpy as np
import torch
from torch import nn

from llm_core.tokens.loader import ShardReader
from llm_core.train.distribution import World
from llm_core.train.precision import autocast
from llm_core.train.spec import TrainerSpec


def validation_windows(reader: ShardReader, sequence_length: int, tokens: int) -> np.ndarray:
    """Where the validation windows start: ``tokens`` worth of them, or all there are, spread evenly over the split."""
    windows = (reader.tokens - 1) // sequence_length
    count = min(max(1, tokens // sequence_length), windows)
    return np.arange(count, dtype=np.int64) * windows // count * sequence_length


@torch.no_grad()
def validation_loss(model: nn.Module, reader: ShardReader, spec: TrainerSpec, world: World) -> float:
    """Mean cross-entropy over the validation windows, in nats per token; the same on every rank."""
    length = spec.training.sequence_length
    starts = validation_windows(reader, length, spec.training.validation_tokens)
    total = torch.zeros((), dtype=torch.float64, device=world.device)
    model.eval()
    for first in range(0, len(starts), spec.micro_batch * world.size):
        mine = starts[first : first + spec.micro_batch * world.size][world.rank :: world.size]
        # FSDP2 gathers parameters in every forward pass, so a rank without windows takes part with one that counts 0.
        rows = mine if len(mine) else starts[:1]
        tokens = torch.from_numpy(reader.rows(rows, length + 1)).to(world.device)
        documents = torch.from_numpy(reader.document_id_rows(rows, length)).to(world.device)
        with autocast(spec.training.precision, world.device):
            loss = model(tokens[:, :-1], tokens[:, 1:], documents)
        if len(mine):
            total += loss
    model.train()
    return float(world.total(total)) / (len(starts) * length)
