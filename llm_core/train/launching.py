"""Starts a training process on this machine, watches it, and keeps others off its devices."""

import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from llm_core.errors import PedigreeError
from llm_core.experiment.runtime import ComputeSpec
from llm_core.graph.job import Runtime
from llm_core.launch import run_group
from llm_core.reasons import explained
from llm_core.runtime_only import runtime_only
from llm_core.train.device_locks import HELD, Device, reserved
from llm_core.train.locks import end_holder
from llm_core.train.metrics_log import METRICS, MetricsFollower
from llm_core.train.spec import FAILURE, TrainerSpec
from llm_core.train.this_machine import chosen_device_type, hardware_of, require_devices
from llm_core.train.threads import threads_per_rank

LOG = "trainer.log"
_KILLED = re.compile(r"exitcode +: -9\b|Signal 9 \(SIGKILL\)|was ended by SIGKILL")
_READY = b" rank(s) on "
"""Part of the line that the training loop logs when everything is loaded."""
_ORPHAN_PATIENCE = 30.0
"""Seconds that the trainer of a dead attempt gets to end its step and write its checkpoint."""
_STOP_SECONDS = 100
"""The same for a trainer that gets a signal to stop."""
_TORCHRUN_SECONDS = 20
"""Seconds that torchrun needs to end after its ranks."""


@runtime_only("compute is no part of an identity; with dropout or experts, weights differ as after another seed")
def rank_count(compute: ComputeSpec) -> int:
    """The number of processes that train: ``compute.ranks``, or one per device.

    ``PedigreeError`` when this machine is not the one that ``compute`` names, or has too few GPUs.
    """
    require_devices(compute)
    if compute.ranks is not None:
        return compute.ranks
    return chosen_device_type(compute.device_type).count() if compute.planned_here else hardware_of(compute).devices


@runtime_only("starts and watches the trainer, which checks its own code")
def launch(spec: TrainerSpec, ranks: int, runtime: Runtime) -> None:
    """Train ``spec`` on ``ranks`` processes of this machine, with live metrics to ``runtime``.

    First ends the processes of an earlier attempt. Raises ``PedigreeError`` when the training fails or is stopped, with
    the trainer's own message if it wrote one.
    """
    from llm_core.train.work_folder import claim

    claim(spec, runtime.log)
    path = spec.work / "spec.json"
    try:
        spec.write(path)
    except OSError as error:
        raise PedigreeError(f"{path}: can't be written: {explained(error)}") from None
    chosen = chosen_device_type(spec.device_type)
    with reserved(chosen.devices(), 1 if chosen.shared else ranks, spec.name, runtime.log) as taken:
        for earlier in sorted(spec.work.glob("trainer.*.lock")):
            end_holder(earlier, _ORPHAN_PATIENCE, runtime.log)
        _launch(spec, path, ranks, runtime, taken, chosen.environment(taken))


def _launch(
    spec: TrainerSpec,
    path: Path,
    ranks: int,
    runtime: Runtime,
    taken: Mapping[Device, int],
    environment: Mapping[str, str],
) -> None:
    follower = MetricsFollower(spec.work / METRICS)
    log = spec.work / LOG
    before = log.stat().st_size if log.exists() else 0
    first = "compiling the model, which takes the first step" if spec.compile else "the first step"
    begun = False

    def tick() -> None:
        nonlocal begun
        for lock in taken.values():
            os.utime(lock)  # systems remove files from /tmp that are days old
        records = follower.new()
        if not begun:
            runtime.status(first if _is_ready(log, before) else "starting the trainer")
        begun = begun or bool(records)
        if records:
            newest = {name: value for record in records for name, value in record.items()}
            runtime.observe(newest)
            runtime.progress(newest["step"], spec.training.steps, "steps")

    # One rank needs no torchrun, which takes as long to start as the trainer.
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)] if ranks > 1 else []
    failure = spec.work / FAILURE
    failure.unlink(missing_ok=True)
    try:
        run_group(
            [sys.executable, *torchrun, "-m", runtime.trainer_module, str(path)],
            log=log,
            environment={
                # torchrun would set one thread per rank and log a warning.
                **({"OMP_NUM_THREADS": str(threads_per_rank(ranks))} if ranks > 1 else {}),
                # OpenMP threads that spin while they wait cost a shared CPU three quarters of its speed.
                "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "PASSIVE"),
                **environment,
                HELD: "held",
                "PYTHONUNBUFFERED": "1",
                "TORCH_ELASTIC_SHUTDOWN_TIMEOUT": str(_STOP_SECONDS),
                **runtime.environment,
            },
            tick=tick,
            idle_seconds=follower.idle_seconds,
            watchdog_seconds=runtime.compute.watchdog_seconds,
            grace_seconds=_STOP_SECONDS + (_TORCHRUN_SECONDS if torchrun else 0),
            keep_open=tuple(taken.values()),
        )
    except PedigreeError as error:
        if failure.exists():
            raise PedigreeError(f"{failure.read_text(encoding='utf-8')} (log: {spec.work / LOG})") from error
        if _KILLED.search(str(error)):
            raise PedigreeError(
                "a trainer was killed from outside, as happens when memory runs out (`dmesg` may say more): lower "
                f"compute.micro_batch or compute.ranks, or free memory, and run again. {error}"
            ) from error
        raise


def _is_ready(log: Path, before: int) -> bool:
    """Whether the trainer has logged, after the first ``before`` bytes, the line with which its steps begin."""
    try:
        with log.open("rb") as file:
            file.seek(before)
            return _READY in file.read()
    except FileNotFoundError:
        return False
