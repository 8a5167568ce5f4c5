"""Reports when numba compiles kernels: the first run on a machine waits for that, and should say so."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from llm_core.runtime_only import runtime_only

COMPILING = "compiling kernels (once on this machine)"


@runtime_only("tells what this process waits for")
@contextmanager
def telling(status: Callable[[str], None]) -> Iterator[None]:
    """Call ``status(COMPILING)`` while this process compiles kernels, and ``status("")`` afterwards.

    Kernels in the cache on disk are not compiled. Without numba loaded, there are no kernels.
    """
    if "numba" not in sys.modules:
        yield
        return
    from numba.core import event

    class Told(event.Listener):
        depth = 0

        def on_start(self, _: Any) -> None:
            if self.depth == 0:
                status(COMPILING)
            self.depth += 1

        def on_end(self, _: Any) -> None:
            self.depth -= 1
            if self.depth == 0:
                status("")

    with event.install_listener("numba:compile", Told()):
        yield
