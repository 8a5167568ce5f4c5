"""CPU threads, divided equally among the ranks of a machine."""

import os


def threads_per_rank(ranks: int) -> int:
    """CPU threads of one of ``ranks`` processes on this machine."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // ranks)
