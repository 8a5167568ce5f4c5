"""Decoding states: the memory of the tokens read, so that each new token costs the work of one token."""

from collections.abc import Sequence
from copy import copy
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn


class Room(NamedTuple):
    """The size, device and type of the decoding state of one layer. ``max_length``: tokens of the longest row."""

    batch_size: int
    max_length: int
    device: torch.device | str
    dtype: torch.dtype

    def zeros(self, *shape: int, dtype: torch.dtype | None = None) -> Tensor:
        """(B, ``shape``), of the room's type by default."""
        return torch.zeros((self.batch_size, *shape), device=self.device, dtype=dtype or self.dtype)


class DecodingState:
    """The states of all layers for a batch of sequences, whose last tokens are in the same column.

    ``layers``: those of the mixers. ``feed_forwards``: those of the feed-forwards, None for one that does not look
    back. ``length``: the number of columns read; the decoder increases it after the last layer. If rows are padded on
    the left, ``documents_BS`` is −1 for padding and 0 for tokens. ``tokens_BJ``: the last tokens, for n-gram
    embeddings. ``padding_B``: if rows were gathered (``llm_core.model.gather``), the columns of padding before each;
    positions then count from a row's first token. None: they count from the first column. For use without gradients.
    """

    def __init__(
        self,
        layers: Sequence[Any],
        feed_forwards: Sequence[Any] = (),
        documents_BS: Tensor | None = None,
        tokens_BJ: Tensor | None = None,
        padding_B: Tensor | None = None,
    ) -> None:
        self.layers = list(layers)
        self.feed_forwards = list(feed_forwards)
        self.documents_BS = documents_BS
        self.tokens_BJ = tokens_BJ
        self.padding_B = padding_B
        self.length = 0

    def position(self) -> int | Tensor:
        """The position of the next token; (B, 1, 1) if rows differ."""
        return self.length if self.padding_B is None else (self.length - self.padding_B)[:, None, None]

    def advance(self, tokens: int) -> None:
        """Count ``tokens`` more as read."""
        self.length += tokens


class KeyValueState:
    """The keys and values of ``max_length`` tokens; with a window, of the last ``window`` − 1 tokens only."""

    def __init__(self, room: Room, heads: int, widths: tuple[int, int], window: int | None) -> None:
        self.window, self.max_length = window, room.max_length
        self.length = 0
        length = room.max_length if window is None else 0
        self.keys, self.values = (
            torch.empty((room.batch_size, heads, length, width), device=room.device, dtype=room.dtype)
            for width in widths
        )

    def extend(self, keys_BKTC: Tensor, values_BKTC: Tensor) -> tuple[Tensor, Tensor]:
        """Store new keys and values. Returns those that the new tokens may attend to, (B, K, S, C) each.

        Raises ``ValueError`` for more than ``max_length`` tokens.
        """
        end = self.length + keys_BKTC.shape[2]
        if end > self.max_length:
            raise ValueError(f"the state holds {self.max_length} tokens; {end} are needed")
        if self.window is None:
            self.keys[:, :, self.length : end] = keys_BKTC
            self.values[:, :, self.length : end] = values_BKTC
            self.length = end
            return self.keys[:, :, :end], self.values[:, :, :end]
        keys, values = torch.cat((self.keys, keys_BKTC), dim=2), torch.cat((self.values, values_BKTC), dim=2)
        kept = min(self.window - 1, end)
        self.keys, self.values = keys[:, :, keys.shape[2] - kept :], values[:, :, values.shape[2] - kept :]
        self.length = end
        return keys, values

    def gathered(self, parts: "Sequence[Part]", length: int, max_length: int) -> "KeyValueState":
        """See ``llm_core.model.gather``."""
        new = copy(self)
        new.length, new.max_length = length, max_length
        columns = length if self.window is None else min(self.window - 1, length)
        size = max_length if self.window is None else columns
        new.keys, new.values = (
            aligned([_used(part, getattr(part.state, name)) for part in parts], columns, size, axis=2)
            for name in ("keys", "values")
        )
        return new


class Part(NamedTuple):
    """Rows of a state of one layer, which has read ``length`` columns."""

    state: Any
    rows: Tensor
    length: int


def _used(part: Part, stored: Tensor) -> tuple[Tensor, int]:
    return stored[part.rows], part.length if part.state.window is None else stored.shape[2]


def aligned(parts: Sequence[tuple[Tensor, int]], columns: int, size: int, axis: int) -> Tensor:
    """One tensor of the rows of all ``parts``, with ``size`` columns along ``axis``. A part is its rows and the number
    of columns in use; they end at ``columns``, with zeros before them, which never become NaN behind a mask."""
    first = parts[0][0]
    shape = list(first.shape)
    shape[0], shape[axis] = sum(len(part) for part, _ in parts), size
    joined = first.new_zeros(shape)
    row = 0
    for part, used in parts:
        kept = min(columns, used)
        place = joined[row : row + len(part)].narrow(axis, columns - kept, kept)
        place.copy_(part.narrow(axis, used - kept, kept))
        row += len(part)
    return joined


def new_state(model: nn.Module, batch_size: int, max_length: int, documents_BS: Tensor | None = None) -> DecodingState:
    """An empty state of ``model`` (a ``Decoder``) for ``batch_size`` rows of up to ``max_length`` tokens.

    Its type is that of keys and values: autocast's if that is on, otherwise the weights'.
    """
    weight = next(model.parameters())
    device, dtype = weight.device, weight.dtype
    if torch.is_autocast_enabled(device.type):
        dtype = torch.get_autocast_dtype(device.type)
    blocks: list[Any] = list(model.blocks)  # type: ignore[arg-type]
    room = Room(batch_size, max_length, device, dtype)
    layers = [block.mixer.new_state(room) for block in blocks]
    feed_forwards = [block.feed_forward.new_state(room) if block.looks_back else None for block in blocks]
    ngrams: Any = model.ngram_embedding
    tokens_BJ = None if ngrams is None else room.zeros(ngrams.before, dtype=torch.long)
    return DecodingState(layers, feed_forwards, documents_BS, tokens_BJ)
