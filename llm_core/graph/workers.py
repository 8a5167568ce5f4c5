"""Builds parts in this process, in worker processes of this machine, or on a Ray cluster. The result is the same.

A worker is a Python process that builds parts (``llm_core.graph.worker``), with one thread each for polars and
tokenizers. Workers stay for the next map of this process, and end with it, however it ends.
"""

import os
import pickle
import queue
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any

from llm_core.errors import PedigreeError
from llm_core.experiment.runtime import ComputeSpec
from llm_core.graph.part_build import PartBuild
from llm_core.graph.ray_workers import build_on_ray
from llm_core.graph.worker import ONE_THREAD, read_message, write_message
from llm_core.runtime_only import runtime_only
from llm_core.store.parts import Part

_INPUTS_NAMED = 5


@runtime_only("lets a process build each part; what it is, the part says")
def build_parts(parts: Sequence[PartBuild], compute: ComputeSpec, status: Callable[[str], None]) -> Iterator[Part]:
    """Build all parts, in any order. Raises the first error, after running parts have finished.

    ``status`` is called, from several threads, with other activities of the workers.
    """
    if compute.map == "ray":
        return build_on_ray(parts, compute)
    workers = min(compute.workers or _cores(), len(parts))
    return map(PartBuild.build, parts) if workers <= 1 else _build_in_workers(parts, workers, status)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _build_in_workers(parts: Sequence[PartBuild], workers: int, status: Callable[[str], None]) -> Iterator[Part]:
    with ThreadPoolExecutor(workers) as threads:
        futures = [threads.submit(_build_in_worker, part, status) for part in parts]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BaseException:
            threads.shutdown(wait=False, cancel_futures=True)
            raise


def _build_in_worker(part: PartBuild, status: Callable[[str], None]) -> Part:
    """Let an idle or new worker build the part, and wait for it."""
    try:
        worker = _IDLE.get_nowait()
    except queue.Empty:
        worker = _Worker()
    try:
        return worker.build(part, status)
    finally:
        if worker.lives:
            _IDLE.put(worker)


class _Worker:
    """One worker process, and the pipes to it. Its standard error goes to a file; an error shows the end of it."""

    def __init__(self) -> None:
        self.lives = True
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (lives as long as the worker)
        environment = {**os.environ, **ONE_THREAD, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "llm_core.graph.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=environment,
        )

    def build(self, part: PartBuild, status: Callable[[str], None]) -> Part:
        """Build the part. Calls ``status`` with the worker's activity. Raises the error of the task's function."""
        assert self._process.stdin is not None
        try:
            write_message(self._process.stdin, part)
            done, result = self._answer()
            while done is None:
                status(result)
                done, result = self._answer()
        except (BrokenPipeError, EOFError):
            self.lives = False
            self._errors.seek(0)
            said = self._errors.read()[-2000:].decode(errors="replace").strip()
            read = ", ".join(str(file.path) for file in list(part.task.inputs.values())[:_INPUTS_NAMED])
            raise PedigreeError(
                f"{part.task.name}: the worker that made this part died (exit code {self._process.wait()}"
                f"{': ' if said else ''}{said}). If memory ran out, lower compute.workers or raw.documents_per_part; "
                f"if not, one of its files may be damaged: {read}. Finished parts are kept"
            ) from None
        if not done:
            raise result
        built: Part = result
        return built

    def _answer(self) -> tuple[bool | None, Any]:
        assert self._process.stdout is not None
        answer: tuple[bool | None, Any] = pickle.loads(read_message(self._process.stdout))  # noqa: S301 (our own process)
        return answer


_IDLE: "queue.SimpleQueue[_Worker]" = queue.SimpleQueue()
