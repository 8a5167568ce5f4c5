"""How a trainer on a CPU deals with memory that it gives back and takes anew in every step."""

import os
import sys


def keeping_memory() -> dict[str, str]:
    """The environment of a process that keeps what it frees, in large pages.

    C's allocator hands large tensors back to the kernel, which clears each page before it is used again: at tiny's
    shape 15,000 pages and a tenth of every step. What the environment says already stands. glibc on Linux; others
    don't know the names.
    """
    if sys.platform != "linux":
        return {}
    wanted = {
        "MALLOC_MMAP_MAX_": "0",
        "MALLOC_TRIM_THRESHOLD_": str(2**40),
        "MALLOC_TOP_PAD_": str(2**26),
        "THP_MEM_ALLOC_ENABLE": "1",
    }
    return {name: value for name, value in wanted.items() if name not in os.environ}
