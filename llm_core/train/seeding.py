"""Random numbers that follow from where a run is, so that nothing about them must be kept."""

from hashlib import sha256

import torch


def seed_step(seed: int, step: int, rank: int) -> None:
    """Seed all of torch's generators for what ``rank`` draws in ``step`` (dropout).

    A run that is stopped and goes on draws the same numbers as one that is not, at the same number of ranks and the
    same micro-batch; among those that differ in these, dropout differs. Does not wait for a device.
    """
    torch.manual_seed(int.from_bytes(sha256(f"{seed}/{step}/{rank}".encode()).digest()[:8], "little") >> 1)
