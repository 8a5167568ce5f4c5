"""Garbage collection, paused where many objects are made that stay."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

from llm_core.runtime_only import runtime_only


@runtime_only("when memory is freed changes no result")
@contextmanager
def paused_collection(*, keep: bool = False) -> Iterator[None]:
    """No search for cycles inside this context: the collector would go through all new objects again and again.

    For imports of large libraries, and for syntax trees. With ``keep``, later searches leave out all objects that are
    there at the end: for a process that has imported what it needs.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
        if keep:
            gc.freeze()
    finally:
        if collects:
            gc.enable()
