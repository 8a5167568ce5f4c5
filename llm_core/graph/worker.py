"""A worker process: reads parts to build from its standard input, builds them, and answers on its standard output.

``python -m llm_core.graph.worker``, started by ``llm_core.graph.workers``. An answer is (success, the part or the
error). Any number of (None, status) may come before it. When the parent process goes away, the worker ends at once,
even in the middle of a part.
"""

import os
import pickle
import queue
import sys
import threading
import traceback
from typing import IO, Any

from llm_core.graph.compiling import telling

ONE_THREAD = dict.fromkeys(
    ("POLARS_MAX_THREADS", "RAYON_NUM_THREADS", "NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"
)
"""Environment variables of a worker: it has one core, so more threads would only slow down the other workers."""

_FRAME = 8  # bytes of a message's length


def main() -> None:
    """Build parts until the input ends."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # the output of a part must not mix with the answers
    messages: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(messages,), daemon=True).start()
    while True:
        message = messages.get()
        try:  # importing the part's code may fail too
            part = pickle.loads(message)  # noqa: S301 (from our own process)
            with telling(lambda what: write_message(answers, (None, what))):
                answer: tuple[bool, Any] = (True, part.build())
        except Exception as error:
            answer = (False, _portable(error))
        write_message(answers, answer)


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


def _read(messages: "queue.SimpleQueue[bytes]") -> None:
    """Read messages in a separate thread, so that the end of the input is noticed while a part is being built."""
    try:
        while True:
            messages.put(read_message(sys.stdin.buffer))
    except (EOFError, OSError):
        os._exit(0)


def _portable(error: Exception) -> Exception:
    """The error with its traceback as a note, if it can be pickled; otherwise an error with the same text."""
    trace = "".join(traceback.format_exception(error))
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 (our own object)
    except Exception:
        return RuntimeError(trace)
    error.add_note(trace)
    return error


if __name__ == "__main__":
    main()
