"""Builds parts in this process, in worker processes of this machine, or on a Ray cluster. The result is the same.

A worker is a Python process that reads tasks and writes parts (``llm_core.graph.worker``), with one thread each for
polars and tokenizers. Workers stay for the next map of this process, and end with it, however it ends.
"""

import os
import pickle
import queue
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import IO, Any

from llm_core.errors import PedigreeError
from llm_core.experiment.runtime import ComputeSpec
from llm_core.graph.mapping import KeyedTask
from llm_core.graph.one_thread import ONE_THREAD
from llm_core.runtime_only import runtime_only
from llm_core.store.parts import Part

_INPUTS_NAMED = 5
_FRAME = 8  # bytes of a message's length


@runtime_only("has parts made; which these are, their tasks say")
def run_tasks(
    make: Callable[[KeyedTask], Part],
    tasks: Sequence[KeyedTask],
    compute: ComputeSpec,
    status: Callable[[str], None] = lambda _: None,
) -> Iterator[Part]:
    """Build the part of every task with ``make``, in any order. Raises the first error, after running parts have
    finished.

    ``make`` is an argument so that it is in the code digest of the caller. ``status`` is called, from several threads,
    with other activities of the workers.
    """
    if compute.map == "ray":
        from llm_core.graph.ray_workers import run_on_ray

        yield from run_on_ray(make, tasks, compute)
        return
    workers = min(compute.workers or _cores(), len(tasks))
    if workers <= 1:
        yield from map(make, tasks)
    else:
        yield from _run_locally(make, tasks, workers, status)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _run_locally(
    make: Callable[[KeyedTask], Part], tasks: Sequence[KeyedTask], workers: int, status: Callable[[str], None]
) -> Iterator[Part]:
    with ThreadPoolExecutor(workers) as threads:
        futures = [threads.submit(_hand_over, make, task, status) for task in tasks]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BaseException:
            threads.shutdown(wait=False, cancel_futures=True)
            raise


def _hand_over(make: Callable[[KeyedTask], Part], task: KeyedTask, status: Callable[[str], None]) -> Part:
    """Let an idle or new worker build the part, and wait for it."""
    try:
        worker = _IDLE.get_nowait()
    except queue.Empty:
        worker = _Worker()
    try:
        part = worker.make(make, task, status)
    except _WorkerDiedError as error:
        read = ", ".join(str(file.path) for file in list(task.task.inputs.values())[:_INPUTS_NAMED])
        raise PedigreeError(
            f"{task.task.name}: the worker that made this part died ({error}). If memory ran out, lower "
            f"compute.workers or raw.documents_per_part; if not, one of its files may be damaged: {read}. Finished "
            "parts are kept"
        ) from None
    except BaseException:
        _IDLE.put(worker)
        raise
    _IDLE.put(worker)
    return part


class _WorkerDiedError(Exception):
    pass


class _Worker:
    """One worker process, and the pipes to it. Its standard error goes to a file; an error shows the end of it."""

    def __init__(self) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (lives as long as the worker)
        environment = {**os.environ, **ONE_THREAD, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "llm_core.graph.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=environment,
        )

    def make(self, make: Callable[[KeyedTask], Part], task: KeyedTask, status: Callable[[str], None]) -> Part:
        """Build the part of ``task`` with the function ``make``. Calls ``status`` with the worker's activity.

        Raises the error of the task's function, or ``_WorkerDiedError``.
        """
        assert self._process.stdin is not None
        try:
            write_message(self._process.stdin, (make, task))
            done, result = self._answer()
            while done is None:
                status(result)
                done, result = self._answer()
        except (BrokenPipeError, EOFError):
            self._errors.seek(0)
            said = self._errors.read()[-2000:].decode(errors="replace").strip()
            raise _WorkerDiedError(f"exit code {self._process.wait()}{': ' if said else ''}{said}") from None
        if not done:
            raise result
        part: Part = result
        return part

    def _answer(self) -> tuple[bool | None, Any]:
        assert self._process.stdout is not None
        answer: tuple[bool | None, Any] = pickle.loads(read_message(self._process.stdout))  # noqa: S301 (our own process)
        return answer


_IDLE: "queue.SimpleQueue[_Worker]" = queue.SimpleQueue()


def write_message(stream: IO[bytes], message: Any) -> None:
    """Write a pickled object after its length. For processes of one run."""
    data = pickle.dumps(message)
    stream.write(len(data).to_bytes(_FRAME, "little") + data)
    stream.flush()


def read_message(stream: IO[bytes]) -> bytes:
    """The next object, still pickled. Raises ``EOFError`` when the other side is gone."""
    head = stream.read(_FRAME)
    if len(head) < _FRAME:
        raise EOFError
    size = int.from_bytes(head, "little")
    data = stream.read(size)
    if len(data) < size:
        raise EOFError
    return data
