"""The training process: ``torchrun … -m llm_core.train spec.json``, or without torchrun on one device."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from llm_core.errors import PedigreeError
from llm_core.reasons import explained, place_of
from llm_core.runtime_only import runtime_only
from llm_core.train.device_locks import HELD, used
from llm_core.train.distribution import World, open_world
from llm_core.train.interruption import STOPPED, StopRequest
from llm_core.train.locks import held
from llm_core.train.loop import train
from llm_core.train.run_record import check_bundle, write_record
from llm_core.train.spec import FAILURE, TrainerSpec, check_code, read_spec
from llm_core.train.warm_start import check_start
from llm_core.train.work_folder import claim


@runtime_only("starts and stops what trains")
def main(arguments: Sequence[str] | None = None) -> int:
    """Train the specification in the JSON file ``arguments[0]``; returns the exit code (0, 1, 2 or ``STOPPED``)."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if len(arguments) != 1:
        print("usage: torchrun --standalone --nproc-per-node N -m llm_core.train spec.json", file=sys.stderr)
        return 2
    rank = os.environ.get("RANK", "0")
    stop = StopRequest()
    stop.install()
    try:
        spec = read_spec(Path(arguments[0]))
        if rank == "0":
            check_start(spec)  # first: a run that can't start must not claim the work folder
            claim(spec, lambda line: print(line, flush=True))
            (spec.work / FAILURE).unlink(missing_ok=True)
    except (PedigreeError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    try:
        # One lock per rank, so that no attempt runs beside an orphan of an earlier one. The failure is recorded before
        # the process group closes: after that, other ranks fail for lack of this one.
        with (
            held(spec.work / f"trainer.{rank}.lock"),
            _recording_failure(spec),
            open_world(spec.device_type) as world,
            _recording_failure(spec),
            _device_shown(spec, world),
        ):
            return _train(spec, world, stop)
    except PedigreeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


@runtime_only("starts training, and reports how it ended")
def _train(spec: TrainerSpec, world: World, stop: StopRequest) -> int:
    def log(line: str) -> None:
        if world.is_main:
            print(line, flush=True)

    if spec.code is not None:
        spec.code.load()
    check_code(spec)
    check_bundle(spec, world)
    steps = spec.training.steps
    done = train(spec, world, stop, log).step
    check_code(spec)
    if done == steps:
        if world.is_main:
            write_record(spec)
        log(f"finished all {steps} steps")
        return 0
    reason = stop.reason or "a request to another rank"
    message = f"stopped after step {done} of {steps} by {reason}; run again to resume"
    _write_failure(spec, message)
    log(message)
    return STOPPED


@runtime_only("shows others which device is in use")
@contextmanager
def _device_shown(spec: TrainerSpec, world: World) -> Iterator[None]:
    """Mark this rank's device as in use for other trainers on this machine, unless the launcher does."""
    if HELD in os.environ or (world.device_type.shared and not world.is_main):
        yield
        return
    with used(world.device_type.devices()[world.device.index or 0], spec.name, lambda line: print(line, flush=True)):
        yield


@runtime_only("words errors")
@contextmanager
def _recording_failure(spec: TrainerSpec) -> Iterator[None]:
    try:
        yield
    except PedigreeError as error:
        _write_failure(spec, str(error))
        raise
    except Exception as error:
        _write_failure(spec, f"the trainer failed{_where(error)} ({place_of(error)}): {explained(error)}")
        raise


def _where(error: Exception) -> str:
    """The callback that raised the error, if any."""
    return "".join(f" {note}" for note in getattr(error, "__notes__", ()))


def _write_failure(spec: TrainerSpec, message: str) -> None:
    """Write the first error of an attempt to ``failure.txt``. Later errors (ranks that lose a partner) are noise."""
    with suppress(OSError), (spec.work / FAILURE).open("x", encoding="utf-8") as file:
        file.write(message)
