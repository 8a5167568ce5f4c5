"""A worker process: reads tasks from its standard input, builds their parts, and answers on its standard output.

``python -m llm_core.graph.worker``, started by ``llm_core.graph.workers``. An answer is (success, the part or the
error). Any number of (None, status) may come before it. When the parent process goes away, the worker ends at once,
even in the middle of a part.
"""

import os
import pickle
import queue
import sys
import threading
from typing import Any

from llm_core.graph.compiling import telling
from llm_core.graph.workers import read_message, write_message


def main() -> None:
    """Process tasks until the input ends."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # the output of a part must not mix with the answers
    tasks: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(tasks,), daemon=True).start()
    while True:
        message = tasks.get()
        try:  # importing the part's code may fail too
            make, item = pickle.loads(message)  # noqa: S301 (from our own process)
            _ = item.task.function
            with telling(lambda what: write_message(answers, (None, what))):
                answer: tuple[bool, Any] = (True, make(item))
        except Exception as error:
            answer = (False, _portable(error))
        write_message(answers, answer)


def _read(tasks: "queue.SimpleQueue[bytes]") -> None:
    """Read messages in a separate thread, so that the end of the input is noticed while a part is being built."""
    try:
        while True:
            tasks.put(read_message(sys.stdin.buffer))
    except (EOFError, OSError):
        os._exit(0)


def _portable(error: Exception) -> Exception:
    """The error with its traceback as a note, if it can be pickled; otherwise an error with the same text."""
    import traceback

    trace = "".join(traceback.format_exception(error))
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 (our own object)
    except Exception:
        return RuntimeError(trace)
    error.add_note(trace)
    return error


if __name__ == "__main__":
    main()
