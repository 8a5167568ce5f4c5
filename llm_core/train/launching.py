"""How a training process is started on this machine, watched, and kept from running beside another."""

import os
import sys
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from llm_core.errors import PedigreeError
from llm_core.experiment.runtime import ComputeSpec
from llm_core.graph.job import Runtime
from llm_core.launch import run_group
from llm_core.train.host_memory import keeping_memory
from llm_core.train.locks import end_holder, held
from llm_core.train.metrics import METRICS, MetricsFollower
from llm_core.train.spec import FAILURE, TrainerSpec
from llm_core.train.threads import threads_per_rank

RUNTIME_ONLY = True

LOG = "trainer.log"
_READY = b" rank(s) on "
"""In the line that the training loop writes when everything is loaded."""
_ORPHAN_PATIENCE = 30.0
"""Seconds that the trainer of a dead attempt gets for its step and its checkpoint."""
_STOP_SECONDS = 100
"""The same for a trainer that is told to stop."""


def rank_count(compute: ComputeSpec) -> int:
    """How many processes train: as many as said, or one for each GPU. ``PedigreeError`` when there are too few GPUs."""
    import torch

    gpus = torch.cuda.device_count()
    if compute.target == "h100x8" and compute.ranks is None and gpus < 8:
        raise PedigreeError(
            f"compute.target h100x8 needs 8 GPUs, and this machine has {gpus}; run on such a node, or set "
            "compute.target to local"
        )
    if gpus and compute.ranks is not None and compute.ranks > gpus:
        raise PedigreeError(f"compute.ranks is {compute.ranks}, but this machine has {gpus} GPUs")
    return compute.ranks or (8 if compute.target == "h100x8" else max(gpus, 1))


def accelerators(log: Callable[[str], None]) -> AbstractContextManager[int]:
    """Hold this machine's accelerators (its CPU, where there are none): one training of this user at a time.

    Others wait, whatever starts them. Gives the lock's file descriptor.
    """
    path = Path(tempfile.gettempdir()) / f"pedigree-{os.getuid()}" / "accelerators.lock"
    return held(path, lambda owner: log(f"waiting for another training on this machine to end ({owner})"))


def launch(spec: TrainerSpec, ranks: int, runtime: Runtime) -> None:
    """Train ``spec`` on ``ranks`` processes of this machine, with live figures to ``runtime``.

    Ends what is left of an earlier attempt first. Raises ``PedigreeError`` when the training fails or is stopped, in
    the trainer's own words where it left any.
    """
    path = spec.work / "spec.json"
    try:
        spec.write(path)
    except OSError as error:
        raise PedigreeError(f"{path}: can't be written: {error.strerror}; make its folder writable") from None
    with accelerators(runtime.log) as lock:
        for earlier in sorted(spec.work.glob("trainer.*.lock")):
            end_holder(earlier, _ORPHAN_PATIENCE, runtime.log)
        _launch(spec, path, ranks, runtime, lock)


def _launch(spec: TrainerSpec, path: Path, ranks: int, runtime: Runtime, lock: int) -> None:
    import torch

    follower = MetricsFollower(spec.work / METRICS)

    log = spec.work / LOG
    before = log.stat().st_size if log.exists() else 0
    first = "compiling the model, which takes the first step" if spec.compile else "the first step"
    begun = False

    def tick() -> None:
        nonlocal begun
        records = follower.new()
        if not begun:
            runtime.status(first if _is_ready(log, before) else "starting the trainer")
        begun = begun or bool(records)
        if records:
            newest = {name: value for record in records for name, value in record.items()}
            runtime.observe(newest)
            runtime.progress(newest["step"], spec.training.steps, "steps")

    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)]
    failure = spec.work / FAILURE
    failure.unlink(missing_ok=True)
    try:
        run_group(
            [*torchrun, "-m", runtime.trainer_module, str(path)],
            log=log,
            environment={
                # torchrun would say one thread each, and complain.
                **({"OMP_NUM_THREADS": str(threads_per_rank(ranks))} if ranks > 1 else {}),
                # OpenMP threads that spin while they wait cost a shared CPU three quarters of its speed.
                "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "PASSIVE"),
                **keeping_memory(torch.cuda.device_count()),
                "PYTHONUNBUFFERED": "1",
                "TORCH_ELASTIC_SHUTDOWN_TIMEOUT": str(_STOP_SECONDS),
                **runtime.environment,
            },
            tick=tick,
            idle_seconds=follower.idle_seconds,
            watchdog_seconds=runtime.compute.watchdog_seconds,
            grace_seconds=_STOP_SECONDS + 20,
            keep_open=(lock,),
        )
    except PedigreeError as error:
        if failure.exists():
            raise PedigreeError(f"{failure.read_text(encoding='utf-8')} (log: {log})") from error
        raise


def _is_ready(log: Path, before: int) -> bool:
    """Whether the trainer has written, after so many bytes of ``log``, the line with which its steps begin."""
    try:
        with log.open("rb") as file:
            file.seek(before)
            return _READY in file.read()
    except FileNotFoundError:
        return False
