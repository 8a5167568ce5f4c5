"""Requests to stop: by a signal, or by the end of the launcher.

A request only sets a flag; the loop finishes its step, writes a checkpoint and ends. After the launcher has ended,
nobody else can end a process that hangs in a collective, so the watching thread does that after some time.
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
"""Exit code of a run that was asked to stop and can resume later (``EX_TEMPFAIL``)."""

_ORPHAN_SECONDS = 300.0
"""Time for the last step and its checkpoint after the launcher has ended."""
_POLL_SECONDS = 0.5
_STDIN = 0


@runtime_only("when a run stops and goes on changes no weights")
class StopRequest:
    """``reason`` says why the run should stop; None while it should not."""

    def __init__(self) -> None:
        self.reason: str | None = None

    def install(self) -> None:
        """Handle signals, and watch the launcher in a thread.

        HUP and INT stay ignored if they were (``nohup``, background jobs of a shell). TERM always requests a stop: a
        launcher that ignores TERM passes this on to its children unintentionally.
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
        self.reason = self.reason or "the end of its launcher"
        time.sleep(_ORPHAN_SECONDS)
        os._exit(STOPPED)
