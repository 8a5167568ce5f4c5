"""When to stop early: a signal, or the death of whoever started the run.

A request only sets a flag; the loop finishes its step, writes a checkpoint and ends. A process that can't (it hangs in
a collective whose other side is gone) is ended by the watching thread, since nobody else is left to do it.
"""

import os
import select
import signal
import threading
import time
from types import FrameType

from llm_core.launch import LIFELINE
from llm_core.runtime_only import runtime_only

STOPPED = 75
"""Exit code of a run that was asked to stop and can go on later (``EX_TEMPFAIL``)."""

_ORPHAN_SECONDS = 300.0
"""Time for the last step and its checkpoint after the launcher's death."""
_POLL_SECONDS = 0.5
_STDIN = 0


@runtime_only("when a run stops and goes on changes no weights")
class StopRequest:
    """Why the run should stop, once it should."""

    def __init__(self) -> None:
        self.reason: str | None = None

    def install(self) -> None:
        """Listen to signals, and watch the launcher from a thread.

        HUP and INT stay ignored where they were (``nohup``, a shell's background). TERM always asks to stop: whoever
        ignores it himself has passed that on without meaning it.
        """
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            if number == signal.SIGTERM or signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._on_signal)
        threading.Thread(target=self._watch, args=(os.getppid(),), daemon=True).start()

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        self.reason = self.reason or signal.Signals(number).name

    def _watch(self, parent: int) -> None:
        lifeline = os.environ.get(LIFELINE) == "stdin"
        while os.getppid() == parent:
            if not lifeline:
                time.sleep(_POLL_SECONDS)
            elif select.select([_STDIN], [], [], _POLL_SECONDS)[0] and not os.read(_STDIN, 1):
                break
        self.reason = self.reason or "the death of its launcher"
        time.sleep(_ORPHAN_SECONDS)
        os._exit(STOPPED)
