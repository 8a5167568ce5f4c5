"""How long a checkpoint holds training up, and how long it takes to be on disk.

``python -m benchmarks.checkpoint_saving [MILLIONS]`` saves a model of so many million parameters (100) with AdamW's
moments three times on one process, and prints a table beside ``torch.save`` of the same state, hashed and synced before
training goes on.
"""

import hashlib
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

import torch
from torch import nn

from llm_core.experiment.runtime import KeepSpec
from llm_core.train.checkpoints import Checkpoints, Progress
from llm_core.train.distribution import World


def at_once(model: nn.Module, optimizer: torch.optim.Optimizer, path: Path) -> None:
    """As one waits for it: write, sync, hash."""
    with path.open("wb") as file:
        torch.save({"weights": model.state_dict(), "optimizer": optimizer.state_dict()}, file)
        file.flush()
        os.fsync(file.fileno())
    with path.open("rb") as file:
        hashlib.file_digest(file, "sha256")


def main() -> None:
    millions = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    model = nn.Sequential(*(nn.Linear(1000, 1000, bias=False) for _ in range(millions)))
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    model(torch.ones(1, 1000)).sum().backward()
    optimizer.step()
    folder = Path(tempfile.mkdtemp(prefix="checkpoint_saving_"))
    checkpoints = Checkpoints(folder / "checkpoints", KeepSpec(last=1), {}, World(0, 1, torch.device("cpu")))
    print("| save | holds training up, s | on disk after, s | torch.save, s | held up, share of it |")
    print("|---|---|---|---|---|")
    for number in range(1, 4):
        begin = time.perf_counter()
        at_once(model, optimizer, folder / "at_once.pt")
        whole = time.perf_counter() - begin
        begin = time.perf_counter()
        checkpoints.save(model, optimizer, Progress(number))
        held = time.perf_counter() - begin
        checkpoints.wait()
        done = time.perf_counter() - begin
        print(f"| {number} | {held:.2f} | {done:.2f} | {whole:.2f} | {held / whole:.0%} |", flush=True)
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
