"""The reference likelihoods of pairs (Rafailov et al., 2023): how likely each answer was before the tuning.

``<split>/reference.npy`` has the nats of the answer of every document of the split, in fp64. Document 2i has the chosen
answer of a pair, document 2i + 1 the rejected one. numpy only: the training path imports this module.
"""

import numpy as np

from llm_core.errors import PedigreeError
from llm_core.tokens.packing import Pieces
from llm_core.tokens.reader import ShardReader

FILE = "reference.npy"


class Reference:
    """The reference likelihoods of the split that ``reader`` reads."""

    def __init__(self, reader: ShardReader) -> None:
        path = reader.folder / reader.split / FILE
        self._offsets = np.load(reader.folder / reader.split / "documents.npy", mmap_mode="r")
        try:
            self._nats: np.ndarray = np.load(path, mmap_mode="r")
        except (OSError, ValueError, EOFError) as error:
            raise PedigreeError(f"{path}: no whole reference likelihoods: {error}; make them again") from None
        if self._nats.dtype != np.float64 or self._nats.shape != (len(self._offsets) - 1,):
            raise PedigreeError(f"{path}: not the likelihoods of {len(self._offsets) - 1} documents; make them again")

    def of(self, pieces: Pieces) -> np.ndarray:
        """Nats (B, 2P) of the answers in each row; 0 where a row has fewer than P pairs. fp64."""
        nats_BP2 = np.zeros((len(pieces.counts), int(pieces.counts.max(initial=0))))
        nats_BP2[filled(pieces)] = self._nats[documents_of(self._offsets, pieces)]
        return nats_BP2


def reference(reader: ShardReader) -> Reference | None:
    """The reference likelihoods of the split that ``reader`` reads; None without that file."""
    return Reference(reader) if (reader.folder / reader.split / FILE).is_file() else None


def documents_of(offsets: np.ndarray, pieces: Pieces) -> np.ndarray:
    """The number of each piece's document in the split. ``offsets``: where its documents start."""
    found: np.ndarray = np.searchsorted(offsets, pieces.starts, side="right") - 1
    return found


def filled(pieces: Pieces) -> np.ndarray:
    """Which places of (rows, most pieces of a row) have a piece; in their order."""
    return np.arange(int(pieces.counts.max(initial=0))) < pieces.counts[:, None]
