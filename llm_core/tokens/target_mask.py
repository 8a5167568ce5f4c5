"""Which tokens are targets, for shards of conversations: only what the assistant says is learnt.

``<split>/targets.npy`` has a bool for every token of the split's stream. Shards without that file have no other tokens
than targets. numpy only: the training path imports this module.
"""

from pathlib import Path

import numpy as np

from llm_core.errors import PedigreeError
from llm_core.tokens.reader import ShardReader

FILE = "targets.npy"


class TargetMask:
    """The mask of a split. Positions are those of the split's stream, as for ``ShardReader``."""

    def __init__(self, path: Path, tokens: int) -> None:
        try:
            self._mask: np.ndarray = np.load(path, mmap_mode="r")
        except (OSError, ValueError, EOFError) as error:
            raise PedigreeError(f"{path}: not a whole target mask: {error}; make the shards again") from None
        if self._mask.dtype != np.bool_ or self._mask.shape != (tokens,):
            raise PedigreeError(f"{path}: not a mask of {tokens} tokens; make the shards again")

    def spans(self, starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """Whether each token of the spans is a target, span after span; bool of shape (sum of ``lengths``,)."""
        pieces = zip(starts.tolist(), lengths.tolist(), strict=True)
        found = [self._mask[start : start + length] for start, length in pieces]
        return np.concatenate([np.empty(0, dtype=np.bool_), *found])


def target_mask(reader: ShardReader) -> TargetMask | None:
    """The mask of the split that ``reader`` reads; None if all tokens are targets."""
    path = reader.folder / reader.split / FILE
    if not path.is_file():
        return None
    documents = np.load(reader.folder / reader.split / "documents.npy", mmap_mode="r")
    return TargetMask(path, int(documents[-1]))
