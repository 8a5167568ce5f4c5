"""The finished runs that a law is fitted to."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from llm_core.errors import PedigreeError
from llm_core.experiment.study import LEAST_RUNS, LEAST_SIZES

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Runs:
    """Finished training runs, one per position of the arrays.

    ``parameters``: those that multiply every token (matrices and head). ``tokens``: read in training. ``flops``: of
    the training. ``loss``: held-out, in nats per token or bits per byte. ``trunks``: runs with the same number share
    states or seeds, so their errors are not independent.
    """

    parameters: Floats
    tokens: Floats
    flops: Floats
    loss: Floats
    trunks: NDArray[np.int64]

    @classmethod
    def of(
        cls, parameters: ArrayLike, tokens: ArrayLike, flops: ArrayLike, loss: ArrayLike, trunks: Sequence | None = None
    ) -> "Runs":
        """Runs from columns; without ``trunks``, runs of one size are one trunk.

        ``PedigreeError`` where a number is missing, infinite or not above zero: a diverged run is no data for a law.
        """
        columns = {"parameters": parameters, "tokens": tokens, "flops": flops, "loss": loss}
        arrays = {name: np.asarray(column, np.float64) for name, column in columns.items()}
        count = len(arrays["loss"])
        for name, array in arrays.items():
            if array.shape != (count,):
                raise PedigreeError(f"{name}: {array.size} numbers for {count} runs")
            wrong = np.flatnonzero(~(np.isfinite(array) & (array > 0)))
            if len(wrong):
                raise PedigreeError(
                    f"run {wrong[0]}: {name} is {array[wrong[0]]:g}, not a number above 0; leave out runs that "
                    "diverged, and count them apart"
                )
        labels = arrays["parameters"] if trunks is None else np.asarray(trunks)
        if len(labels) != count:
            raise PedigreeError(f"trunks: {len(labels)} labels for {count} runs")
        return cls(**arrays, trunks=np.unique(labels, return_inverse=True)[1].astype(np.int64))

    def __len__(self) -> int:
        return len(self.loss)

    def chosen(self, mask: NDArray[np.bool_] | NDArray[np.int64]) -> "Runs":
        """The runs where ``mask`` is true, or those at its places."""
        return Runs(self.parameters[mask], self.tokens[mask], self.flops[mask], self.loss[mask], self.trunks[mask])

    def lacking(self) -> str:
        """What is missing for a law, in words; empty where there is enough."""
        if len(self) < LEAST_RUNS:
            return f"{len(self)} runs; a law takes at least {LEAST_RUNS}"
        for name, column in (("sizes", self.parameters), ("amounts of text", self.tokens)):
            different = len(np.unique(column))
            if different < LEAST_SIZES:
                return f"runs of {different} different {name}; a law takes at least {LEAST_SIZES}"
        return ""
