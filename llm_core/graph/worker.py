"""A worker process: reads tasks from its standard input, makes their parts, and answers on its standard output.

``python -m llm_core.graph.worker``; started by ``llm_core.graph.workers``. An answer is (whether it worked, the part or
the error); before it may come (None, what goes on). When the other side goes away, it ends at
once, in the middle of a part if need be.
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
    """Serve until the input ends."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a part prints must not get between the answers
    tasks: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(tasks,), daemon=True).start()
    while True:
        message = tasks.get()
        try:  # importing what makes the part may fail like the part itself
            make, item = pickle.loads(message)  # noqa: S301 (from our own process)
            _ = item.task.function
            with telling(lambda what: write_message(answers, (None, what))):
                answer: tuple[bool, Any] = (True, make(item))
        except Exception as error:
            answer = (False, _portable(error))
        write_message(answers, answer)


def _read(tasks: "queue.SimpleQueue[bytes]") -> None:
    """In a thread of its own, so that the end of the input is noticed while a part is being made."""
    try:
        while True:
            tasks.put(read_message(sys.stdin.buffer))
    except (EOFError, OSError):
        os._exit(0)


def _portable(error: Exception) -> Exception:
    """The error itself with its traceback as a note, if it can travel; else one that says the same."""
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
