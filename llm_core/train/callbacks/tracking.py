"""Logs metrics to Weights & Biases: offline, or online with a key from the environment."""

import os
import re
from pathlib import Path
from typing import Any
from uuid import uuid4

from llm_core.runtime_only import runtime_only
from llm_core.store.files import write_atomically
from llm_core.train.callbacks.base import Callback
from llm_core.train.callbacks.run import Run
from llm_core.train.requirements import check_tracking
from llm_core.train.spec import TrainerSpec
from llm_core.train.work_folder import WANDB, WANDB_RUN_ID, record_growing_output

_RUN_ID = re.compile("[0-9a-f]{12}")


@runtime_only("tells a tracker")
class Tracking(Callback):
    """Logs every step to Weights & Biases, unless ``tracking.wandb`` is "off". A resumed run keeps its run id."""

    def __init__(self) -> None:
        self._tracker: Any = None

    def on_start(self, run: Run) -> None:
        """Open the tracker once, on the main rank."""
        if run.world.is_main and self._tracker is None and run.spec.tracking.wandb != "off":
            self._tracker = _start_wandb(run.spec)

    def on_metrics(self, run: Run, metrics: dict[str, Any]) -> None:
        """Log one step, without its missing values."""
        if self._tracker:
            known = {name: value for name, value in metrics.items() if name != "step" and value is not None}
            self._tracker.log(known, step=metrics["step"])

    def on_end(self, run: Run, finished: bool) -> None:
        """Close the tracker; a run that stops early counts as failed there."""
        if self._tracker:
            self._tracker.finish(exit_code=0 if finished else 1)


def _start_wandb(spec: TrainerSpec) -> Any:
    check_tracking(spec.tracking)
    import wandb

    assert spec.tracking.wandb != "off"
    # Everything stays in the work folder: W&B writes no settings, caches or logs into the user's home.
    folder = spec.work / WANDB
    folder.mkdir(exist_ok=True)
    for name in ("WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR"):
        os.environ.setdefault(name, str(folder))
    identity = _run_id(spec.work / WANDB_RUN_ID)
    tracker = wandb.init(
        mode=spec.tracking.wandb,
        project=spec.tracking.project,
        name=spec.name,
        id=identity,
        resume="allow" if spec.tracking.wandb == "online" else None,
        dir=spec.work,
        config=spec.model_dump(mode="json", include={"model", "training", "vocab_size", "seed"}),
        settings=wandb.Settings(console="off", silent=True, disable_git=True, save_code=False),
    )
    if spec.tracking.wandb == "offline":
        # This file is all that `wandb sync` needs. A process of W&B writes it.
        record_growing_output(spec.work, Path(tracker.dir).parent / f"run-{identity}.wandb")
    return tracker


def _run_id(path: Path) -> str:
    try:
        known = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        known = ""
    if not _RUN_ID.fullmatch(known):  # a crash or a full disk may have cut it
        known = uuid4().hex[:12]
        write_atomically(path, known.encode())
    return known
