"""Seeds the random generators at every step, so checkpoints need no generator state."""

from hashlib import sha256

import torch


def seed_step(seed: int, step: int, rank: int) -> None:
    """Seed all of torch's generators for ``rank`` at ``step`` (dropout draws from them).

    A resumed run draws the same numbers as an uninterrupted one with the same number of ranks and the same micro-batch.
    With others, dropout differs. Does not wait for a device.
    """
    torch.manual_seed(int.from_bytes(sha256(f"{seed}/{step}/{rank}".encode()).digest()[:8], "little") >> 1)
