"""The data order is a function: ``batch(step)`` follows from shards, seed, packing, lengths and batch sizes alone.

Shapes: B sequences of a batch (of one rank's share, where a rank is given), T tokens of a sequence. numpy only: the
training path imports this module.
"""

import json
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from llm_core.errors import PedigreeError
from llm_core.experiment.training import TrainingSpec
from llm_core.registries import PACKINGS
from llm_core.tokens.batch_sizes import BatchSizes, batch_sizes
from llm_core.tokens.mixture import Mixture
from llm_core.tokens.order import Order
from llm_core.tokens.packing import Packing, Pairs, Pieces
from llm_core.tokens.reader import ShardReader
from llm_core.tokens.reference import reference
from llm_core.tokens.target_mask import TargetMask, target_mask

IGNORED = -100
"""The target where there is nothing to predict: padding, and tokens that a target mask leaves out."""


class Batch(NamedTuple):
    """Arrays of shape (B, T). ``targets_BT`` (int64) is what follows ``inputs_BT`` (int64), or ``IGNORED``.

    ``document_ids_BT`` (int32): to which document of its row a position belongs, counted from 0; −1 where the row is
    padded. It is the document of the *target*: the end-of-text token that ends one document is, as an input, where the
    next one begins. So positions with equal ids may see each other, every target is predicted from its own document
    alone, and none has to be left out.
    """

    inputs_BT: np.ndarray  # noqa: N815
    targets_BT: np.ndarray  # noqa: N815
    document_ids_BT: np.ndarray  # noqa: N815


class Piece(NamedTuple):
    """Targets of a batch that stand together in the stream: ``length`` of them from ``start`` on.

    They are in the sequence ``sequence`` of the global batch from ``column`` on, and come from source ``source``.
    """

    sequence: int
    column: int
    source: int
    start: int
    length: int


class Planned(NamedTuple):
    """How much of a source a run reads: its share of the sequences, their number, the source's tokens, and epochs."""

    source: str
    share: float
    sequences: int
    tokens: int
    epochs: float


class Loader:
    """Batches of ``batch_size`` rows of ``sequence_length`` targets, in a random order without repeats in an epoch.

    ``batch_size``: one for all steps, or ``BatchSizes``: a batch begins in the order where the one before it ended.
    ``readers``: the sources, in shares by ``weights``. ``schedule``: (first step, length) of the phases with other
    lengths, which divide ``sequence_length``: a phase cuts every row into several sequences, so that a change of length
    serves no token twice and leaves none out, and a batch has as many tokens as ever. Needs a packing of ``windows``.

    ``pairs``: documents 2i and 2i + 1 are in one row (``Pairs``), whatever ``packing`` says.

    Every epoch of a source has its own permutation of the rows. A batch may begin in one epoch and end in the next.
    Raises ``PedigreeError`` for a source without a whole row, and for sources with different tokenizers.
    """

    def __init__(
        self,
        readers: ShardReader | Sequence[ShardReader],
        sequence_length: int,
        batch_size: int | BatchSizes,
        seed: int,
        packing: str,
        weights: Sequence[float] | None = None,
        schedule: Sequence[tuple[int, int]] = (),
        pairs: bool = False,
    ) -> None:
        if sequence_length < 1:
            raise ValueError(f"sequence_length {sequence_length} must be positive")
        self.readers = [readers] if isinstance(readers, ShardReader) else list(readers)
        self.sequence_length, self.seed, self.packing = sequence_length, seed, packing
        self.sizes = batch_size if isinstance(batch_size, BatchSizes) else BatchSizes([(0, batch_size)])
        self.schedule = tuple(schedule) or ((0, sequence_length),)
        if self.schedule[0][0] != 0 or any(sequence_length % length for _, length in self.schedule):
            raise ValueError(f"schedule {self.schedule} does not begin at step 0, or has a length that does not divide")
        if weights is None and len(self.readers) != 1:
            raise ValueError(f"{len(self.readers)} sources need weights")
        _check_tokenizers(self.readers)
        self.masks = [target_mask(reader) for reader in self.readers]
        self.references = [reference(reader) for reader in self.readers]
        load = Pairs if pairs else PACKINGS.load(packing)
        self.packed: list[Packing] = [load(reader, sequence_length) for reader in self.readers]
        for reader, packed in zip(self.readers, self.packed, strict=True):
            if packed.rows < 1:
                raise PedigreeError(
                    f"{reader.folder}: {reader.name} has {reader.tokens} tokens; a sequence_length of "
                    f"{sequence_length} needs at least {sequence_length}: use more text or shorter sequences"
                )
        self._mixture = Mixture([reader.name for reader in self.readers], weights or [1.0], seed)
        names = [""] if len(self.readers) == 1 else [f"source {number}" for number in range(len(self.readers))]
        self._orders = [Order(packed.rows, seed, name) for packed, name in zip(self.packed, names, strict=True)]

    @property
    def rows(self) -> int:
        """Rows of all sources together, of one epoch."""
        return sum(packed.rows for packed in self.packed)

    def length_at(self, step: int) -> int:
        """The sequence length of ``step``."""
        return next(length for start, length in reversed(self.schedule) if start <= step)

    def rows_of(self, step: int) -> np.ndarray:
        """(source, row) of the global batch of ``step`` (from 0); int64 of shape (rows of the batch, 2)."""
        if step < 0:
            raise ValueError(f"step {step} is negative")
        positions = self.sizes.before(step) + np.arange(self.sizes.at(step), dtype=np.int64)
        sources, own = self._mixture.split(positions)
        if len(self.readers) == 1:
            return np.stack([sources, self._orders[0].rows(own)], axis=1)
        rows = np.empty(len(positions), dtype=np.int64)
        for source in np.unique(sources).tolist():
            chosen = sources == source
            rows[chosen] = self._orders[source].rows(own[chosen])
        return np.stack([sources, rows], axis=1)

    def digest(self, step: int) -> str:
        """16 hexadecimal digits that stand for what the batch of ``step`` reads."""
        content = self.rows_of(step).tobytes() + self.length_at(step).to_bytes(8, "little")
        return blake2b(content, digest_size=8).hexdigest()

    def pairs(self, step: int) -> int:
        """Pairs of answers of the global batch of ``step``."""
        rows = self.rows_of(step)
        sources = np.unique(rows[:, 0]).tolist()
        counts = [self.packed[source].pieces(rows[rows[:, 0] == source, 1]).counts for source in sources]
        return sum(int(count.sum()) for count in counts) // 2

    def reference(self, step: int, rank: int = 0, world_size: int = 1) -> np.ndarray:
        """Nats (B, 2P) of the answers of ``batch`` before the tuning: of pair k in the columns 2k (chosen) and 2k + 1
        (rejected). 0 where a row has fewer than P pairs."""
        sequences, length = self._sequences(step)
        sequences = sequences[rank::world_size]
        found = []
        for source in np.unique(sequences[:, 0]).tolist():
            numbers, reference = np.flatnonzero(sequences[:, 0] == source), self.references[source]
            assert reference is not None
            found.append((numbers, reference.of(self._pieces(source, sequences[numbers], length))))
        nats_BP2 = np.zeros((len(sequences), max(nats.shape[1] for _, nats in found)))
        for numbers, nats in found:
            nats_BP2[numbers, : nats.shape[1]] = nats
        return nats_BP2

    def targets(self, step: int) -> int:
        """Targets of the global batch of ``step``, without padding and without what the masks leave out."""
        if all(packed.windows and mask is None for packed, mask in zip(self.packed, self.masks, strict=True)):
            return self.sizes.at(step) * self.sequence_length
        rows = self.rows_of(step)
        count = 0
        for source in np.unique(rows[:, 0]).tolist():
            pieces, mask = self.packed[source].pieces(rows[rows[:, 0] == source, 1]), self.masks[source]
            kept = pieces.lengths if mask is None else mask.spans(pieces.starts, pieces.lengths)
            count += int(kept.sum())
        return count

    def _sequences(self, step: int) -> tuple[np.ndarray, int]:
        """(source, row, which part of the row) of every sequence of the global batch, and their length."""
        length = self.length_at(step)
        parts = self.sequence_length // length
        rows = self.rows_of(step)
        sequences = np.empty((len(rows), parts, 3), dtype=np.int64)
        sequences[:, :, :2] = rows[:, None]
        sequences[:, :, 2] = np.arange(parts)
        return sequences.reshape(-1, 3), length

    def _pieces(self, source: int, sequences: np.ndarray, length: int) -> Pieces:
        starts, lengths, counts = self.packed[source].pieces(sequences[:, 1])
        if length != self.sequence_length:  # only of windows: a row is one piece
            starts, lengths = starts + sequences[:, 2] * length, np.full(len(starts), length, dtype=np.int64)
        return Pieces(starts, lengths, counts)

    def pieces(self, step: int) -> list[Piece]:
        """What the global batch of ``step`` (from 0) reads, by sequence and column."""
        sequences, length = self._sequences(step)
        found = []
        for source in np.unique(sequences[:, 0]).tolist():
            numbers = np.flatnonzero(sequences[:, 0] == source)
            pieces = self._pieces(source, sequences[numbers], length)
            columns = _columns(pieces)
            rows = np.repeat(numbers, pieces.counts)
            fields = (rows, columns, np.full(len(rows), source), pieces.starts, pieces.lengths)
            found += [Piece(*row) for row in zip(*(field.tolist() for field in fields), strict=True)]
        return sorted(found)

    def seen(self, start: int, stop: int, steps: int, source: int = 0) -> list[tuple[int, Piece]]:
        """Where tokens ``start`` to ``stop`` of the split's stream were targets in the first ``steps`` steps.

        Returns (step, from 0; the part of the piece that is in the range), in the order of the run. Inverting the
        permutation gives the steps, so none is searched.
        """
        rows = self.packed[source].rows_with(start, stop)
        before = self._mixture.counts(self.sizes.before(steps))[source]
        positions = self._mixture.join(source, self._orders[source].positions(rows, before))
        found = []
        for step in np.unique(self.sizes.steps_of(positions)).tolist():
            for piece in self.pieces(step):
                first, last = max(start, piece.start), min(stop, piece.start + piece.length)
                if piece.source == source and first < last:
                    column = piece.column + first - piece.start
                    found.append((step, Piece(piece.sequence, column, source, first, last - first)))
        return found

    def batch(self, step: int, rank: int = 0, world_size: int = 1) -> Batch:
        """Rows ``rank::world_size`` of the batch of ``step``: the ranks together hold the same for any world."""
        if not 0 <= rank < world_size:
            raise ValueError(f"rank {rank} is not in a world of {world_size}")
        sequences, length = self._sequences(step)
        sequences = sequences[rank::world_size]
        if len(self.readers) == 1:
            return self._assembled(0, sequences, length)
        shape = (len(sequences), length)
        whole = Batch(np.empty(shape, np.int64), np.empty(shape, np.int64), np.empty(shape, np.int32))
        for source in np.unique(sequences[:, 0]).tolist():
            chosen = sequences[:, 0] == source
            for to, part in zip(whole, self._assembled(source, sequences[chosen], length), strict=True):
                to[chosen] = part
        return whole

    def _assembled(self, source: int, sequences: np.ndarray, length: int) -> Batch:
        reader, mask = self.readers[source], self.masks[source]
        pieces = self._pieces(source, sequences, length)
        if not self.packed[source].windows:
            return of_documents(reader, pieces, length, mask)
        whole = windows(reader, pieces.starts, length)
        return whole if mask is None else masked(whole, mask.spans(pieces.starts, pieces.lengths))

    def planned(self, steps: int) -> list[Planned]:
        """What ``steps`` steps take from every source."""
        counts = self._mixture.counts(self.sizes.before(steps))
        return [
            Planned(reader.name, share / sum(self._mixture.shares), count, reader.tokens, count / packed.rows)
            for reader, packed, share, count in zip(
                self.readers, self.packed, self._mixture.shares, counts, strict=True
            )
        ]

    def check_epochs(self, steps: int, max_epochs: float) -> None:
        """``PedigreeError`` when ``steps`` steps would read a source more than ``max_epochs`` times."""
        for plan in self.planned(steps):
            if plan.epochs > max_epochs:
                needed = plan.sequences * self.sequence_length
                raise PedigreeError(
                    f"training.mixture: {steps} steps take {needed:,} tokens from {plan.source} (a share of "
                    f"{plan.share:.1%}), which has {plan.tokens:,}: {plan.epochs:.2f} epochs, and max_epochs is "
                    f"{max_epochs:g}; lower its weight or training.tokens, use more of its text, or raise max_epochs"
                )

    def state(self, step: int) -> dict[str, Any]:
        """What ``restore`` needs to continue at ``step``: at most 1 KB of JSON, the same for any world size."""
        sources = [[reader.digest, reader.split, reader.source] for reader in self.readers]
        return {
            "step": step,
            "seed": self.seed,
            "packing": self.packing,
            "batch_size": self.sizes.at(0) if len(self.sizes.phases) == 1 else _short(self.sizes.phases),
            "sequence_length": self.sequence_length,
            "schedule": _short(self.schedule),
            "mixture": _short(self._mixture.shares),
            "shards": _short(sources),
        }

    def restore(self, state: dict[str, Any]) -> int:
        """The step to continue with; ``PedigreeError`` for the state of a loader with another data order."""
        for name, value in self.state(0).items():
            if name != "step" and state.get(name) != value:
                raise PedigreeError(
                    f"the data order differs: {name} is {state.get(name)!r} in the checkpoint and {value!r} "
                    "here; train in another folder, or with what the checkpoint was made with"
                )
        step: int = state["step"]
        return step


def open_loader(folder: Path, training: TrainingSpec, seed: int) -> Loader:
    """The loader of a run on the training split of the shards in ``folder``."""
    mixture = training.mixture
    names = sorted(mixture.weights) if mixture else []  # no order of a mapping decides anything
    whole = [] if mixture else [ShardReader(folder, "train")]
    return Loader(
        whole or [ShardReader(folder, "train", name) for name in names],
        training.sequence_length,
        batch_sizes(training),
        seed,
        packing=training.packing,
        weights=[mixture.weights[name] for name in names] if mixture else None,
        schedule=[(phase.from_step, phase.sequence_length) for phase in training.sequence_schedule],
        pairs=training.dpo is not None,
    )


def windows(reader: ShardReader, starts: np.ndarray, length: int) -> Batch:
    """Sequences whose targets are the ``length`` tokens from each of ``starts`` (int64) on."""
    lengths = np.full(len(starts), length, dtype=np.int64)
    tokens_BT = reader.spans(starts - 1, lengths + 1).reshape(len(starts), length + 1)
    ids_BT = np.zeros((len(starts), length), dtype=np.int32)
    ids_BT[reader.borders(starts, lengths)] = 1
    return Batch(tokens_BT[:, :-1], tokens_BT[:, 1:], np.cumsum(ids_BT, axis=1, dtype=np.int32, out=ids_BT))


def masked(batch: Batch, kept: np.ndarray) -> Batch:
    """``batch`` with only those targets that are ``kept``: a bool per target, row by row."""
    targets_BT = batch.targets_BT.copy()
    there = targets_BT != IGNORED
    targets_BT[there] = np.where(kept, targets_BT[there], IGNORED)
    return batch._replace(targets_BT=targets_BT)


def of_documents(reader: ShardReader, pieces: Pieces, length: int, mask: TargetMask | None = None) -> Batch:
    """Rows of pieces that each lie within one document, padded at the end; only targets of the ``mask``."""
    shape = (len(pieces.counts), length)
    rows, columns = np.repeat(np.arange(shape[0]), pieces.counts), _columns(pieces)
    tokens = reader.spans(pieces.starts, pieces.lengths)
    ids_BT = np.zeros(shape, dtype=np.int32)
    ids_BT[rows, columns] = columns > 0
    np.cumsum(ids_BT, axis=1, dtype=np.int32, out=ids_BT)
    padded_BT = None
    if tokens.size == ids_BT.size:
        targets_BT = tokens.reshape(shape)
    else:
        used = np.bincount(rows, weights=pieces.lengths, minlength=shape[0])
        padded_BT = np.arange(length) >= used[:, None]
        targets_BT = np.full(shape, IGNORED, dtype=np.int64)
        targets_BT[~padded_BT] = tokens
        ids_BT[padded_BT] = -1
    inputs_BT = np.empty(shape, dtype=np.int64)
    inputs_BT[:, 1:] = targets_BT[:, :-1]
    if padded_BT is not None:
        inputs_BT[padded_BT] = reader.eot
    # What a piece begins with is not what stands before it in the row.
    inputs_BT[rows, columns] = reader.eot
    inside = ~reader.begins_document(pieces.starts)
    before = pieces.starts[inside] - 1
    inputs_BT[rows[inside], columns[inside]] = reader.spans(before, np.ones(len(before), dtype=np.int64))
    whole = Batch(inputs_BT, targets_BT, ids_BT)
    return whole if mask is None else masked(whole, mask.spans(pieces.starts, pieces.lengths))


def _columns(pieces: Pieces) -> np.ndarray:
    """In which column of its row each piece begins."""
    places = np.cumsum(pieces.lengths) - pieces.lengths
    first = np.cumsum(pieces.counts) - pieces.counts
    columns: np.ndarray = places - np.repeat(places[first], pieces.counts)
    return columns


def _short(value: Any) -> str:
    return blake2b(json.dumps(value).encode(), digest_size=16).hexdigest()


def _check_tokenizers(readers: Sequence[ShardReader]) -> None:
    first = readers[0]
    for reader in readers[1:]:
        if (reader.tokenizer, reader.vocab_size, reader.eot) != (first.tokenizer, first.vocab_size, first.eot):
            raise PedigreeError(
                f"{reader.folder} and {first.folder}: the shards were made with different tokenizers "
                f"({reader.tokenizer} and {first.tokenizer}), so their ids mean different things; encode both with one"
            )
