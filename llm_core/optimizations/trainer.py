"""The training process of a measurement: ``python -m llm_core.optimizations.trainer spec.json``."""

import json
import os
import sys
from pathlib import Path

import torch

import llm_core.model.decoder
from llm_core.optimizations.trainer_options import HOST_MEMORY, WHOLE_LOSS
from llm_core.optimizations.whole_loss import whole_cross_entropy
from llm_core.train.devices.cpu import CPU
from llm_core.train.main import main as train


def main() -> int:
    """Note the process's memory, then train the specification as ``llm_core.train`` does."""
    if os.environ.get("RANK", "0") == "0":
        before = CPU.peak_memory(torch.device("cpu"))
        Path(sys.argv[1]).with_name(HOST_MEMORY).write_text(json.dumps(before), encoding="utf-8")
    if WHOLE_LOSS in os.environ:
        llm_core.model.decoder.linear_cross_entropy = whole_cross_entropy
    return train()


if __name__ == "__main__":
    raise SystemExit(main())
