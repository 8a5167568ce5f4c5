"""What holds for every packing."""

import tempfile
from pathlib import Path

import numpy as np

from llm_core.contracts.example import Check, Example
from llm_core.contracts.shards import write_shards
from llm_core.tokens.packing import Packing
from llm_core.tokens.reader import ShardReader

PARTS = ("pieces", "rows_with", "stats")
LENGTHS = ((40, 1, 7, 7, 30, 2), (1, 1, 1), (20,), (5, 9, 5, 9, 40, 3, 3, 3, 17))
"""Lengths of documents."""


def is_whole(example: Example) -> None:
    """It has all that ``Packing`` lists, and words."""
    loaded = example.loaded
    example.hold(loaded.__doc__, "has no docstring: write how it makes rows")
    for part in PARTS:
        example.hold(
            callable(getattr(loaded, part, None)), f"has no method {part}; llm_core.tokens.packing.Packing documents it"
        )
    example.hold(isinstance(getattr(loaded, "windows", None), bool), "has no windows = True or windows = False")


def every_token_is_in_one_row_or_left_out(example: Example) -> None:
    """Of several streams, for several lengths of sequences."""
    for lengths in LENGTHS:
        for length in (1, 4, 16):
            with tempfile.TemporaryDirectory() as folder:
                write_shards(Path(folder), {"train": {"before": [3], "made": lengths, "after": [2]}})
                reader = ShardReader(Path(folder), "train", "made")
                check_packed(example, example.loaded(reader, length), lengths, length, first=3)


def check_packed(example: Example, packed: Packing, lengths: tuple[int, ...], length: int, first: int) -> None:
    """Check the rows of a source of documents with these ``lengths``, which begins at token ``first`` of the stream."""
    case = f"for documents of {', '.join(map(str, lengths))} tokens and T = {length}"
    stop = first + sum(lengths)
    example.hold(hasattr(packed, "rows"), "has no rows after __init__")
    starts, sizes, counts = packed.pieces(np.arange(packed.rows))
    rows = np.repeat(np.arange(packed.rows), counts)
    owners = {
        token: row
        for start, size, row in zip(starts.tolist(), sizes.tolist(), rows.tolist(), strict=True)
        for token in range(start, start + size)
    }
    example.hold(len(owners) == sizes.sum(), f"a token is in two pieces {case}")
    example.hold(owners.keys() <= set(range(first, stop)), f"a piece contains tokens of another source {case}")
    dropped, counted = stop - first - len(owners), packed.stats().get("dropped_tokens", 0)
    example.hold(
        dropped == counted, f"{dropped} tokens are in no row, and stats()['dropped_tokens'] is {counted} {case}"
    )
    example.hold(packed.stats().get("rows") == packed.rows, f"stats()['rows'] is not rows ({packed.rows}) {case}")
    for token in range(first, stop):
        found, wanted = packed.rows_with(token, token + 1).tolist(), [owners[token]] if token in owners else []
        example.hold(found == wanted, f"rows_with({token}, {token + 1}) is {found}, and its row is {wanted} {case}")
    every = packed.rows_with(first, stop).tolist()
    example.hold(every == list(range(packed.rows)), f"rows_with({first}, {stop}) is {every}, not all rows {case}")
    example.hold(
        packed.rows_with(first, stop).tolist() == list(range(packed.rows)),
        f"rows_with of the whole source is not all rows {case}",
    )
    if packed.windows:
        right = (counts == 1).all() and (sizes == length).all()
        example.hold(right, f"windows is True, and a row is not one piece of T tokens {case}")
    else:
        document_of = np.repeat(np.arange(len(lengths)), lengths)
        inside = (document_of[starts - first] == document_of[starts + sizes - 1 - first]).all()
        example.hold(inside, f"windows is False, and a piece reaches over the end of a document {case}")
        example.hold((np.bincount(rows, weights=sizes) <= length).all(), f"a row has more than T tokens {case}")


CHECKS: tuple[Check, ...] = (is_whole, every_token_is_in_one_row_or_left_out)
