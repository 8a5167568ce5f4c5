"""The number of rows in the batch of every step, for runs whose batches grow; and the step that read a given row."""

from collections.abc import Sequence

import numpy as np

from llm_core.experiment.training import TrainingSpec


class BatchSizes:
    """``phases``: (first step, rows per batch), in ascending order; the first phase begins at step 0."""

    def __init__(self, phases: Sequence[tuple[int, int]]) -> None:
        if not phases or phases[0][0] != 0 or any(size < 1 for _, size in phases):
            raise ValueError(f"batch sizes {list(phases)} do not begin at step 0, or are not positive")
        self.phases = tuple(phases)
        self._starts = np.array([start for start, _ in phases], dtype=np.int64)
        self._sizes = np.array([size for _, size in phases], dtype=np.int64)
        taken = np.diff(self._starts) * self._sizes[:-1]
        self._before = np.concatenate([[0], np.cumsum(taken)]).astype(np.int64)

    def at(self, step: int) -> int:
        """Rows of the batch of ``step`` (from 0)."""
        return int(self._sizes[np.searchsorted(self._starts, step, side="right") - 1])

    def before(self, step: int) -> int:
        """Rows of all batches before ``step``."""
        phase = int(np.searchsorted(self._starts, step, side="right")) - 1
        return int(self._before[phase] + (step - self._starts[phase]) * self._sizes[phase])

    def steps_of(self, positions: np.ndarray) -> np.ndarray:
        """The steps whose batches hold the rows at ``positions`` (int64) of the run."""
        phases = np.searchsorted(self._before, positions, side="right") - 1
        steps: np.ndarray = self._starts[phases] + (positions - self._before[phases]) // self._sizes[phases]
        return steps


def batch_sizes(training: TrainingSpec) -> BatchSizes:
    """The batch sizes of a run, in rows of ``sequence_length`` tokens."""
    phases = [(phase.from_step, phase.batch_tokens) for phase in training.batch_schedule]
    return BatchSizes(
        [(start, tokens // training.sequence_length) for start, tokens in phases or [(0, training.batch_tokens)]]
    )


def tokens_before(training: TrainingSpec, step: int) -> int:
    """The number of tokens in the first ``step`` batches."""
    return batch_sizes(training).before(step) * training.sequence_length
