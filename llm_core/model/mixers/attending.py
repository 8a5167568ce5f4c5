"""The settings that all kinds of softmax attention have in common, without torch."""

from abc import abstractmethod
from typing import Annotated, ClassVar

from llm_core.experiment.component import KindOf
from llm_core.experiment.layers import DropoutShare, MixerSpec, PositionSpec, Positive, Width
from llm_core.registries import POSITIONS


class AttendingSpec(MixerSpec):
    """A mixer with softmax attention. Its module has a ``position`` and a ``mask_key``."""

    attends: ClassVar[bool] = True

    n_heads: Width
    """Heads of queries."""
    window: Width | None = None
    """A token sees itself and the ``window`` − 1 previous tokens; null: all previous tokens."""
    position: Annotated[PositionSpec, KindOf(POSITIONS, default="rope")] = "rope"  # type: ignore[assignment]
    """The encoding of positions."""
    scale: Positive | None = None
    """The factor of the scores; by default 1 / sqrt(channels of a key)."""
    softcap: Positive | None = None
    """Scores become c · tanh(score / c) (Gemma 2 has 50)."""
    dropout: DropoutShare = 0.0
    """Dropout rate of the attention weights in training."""

    def position_of(self) -> PositionSpec:
        """See ``MixerSpec``."""
        return self.position

    @abstractmethod
    def key_heads(self) -> int:
        """Heads of keys in attention."""

    @abstractmethod
    def head_widths(self) -> tuple[int, int]:
        """Channels of a head's queries and keys, and of its values, in attention."""

    def rotated_channels(self) -> int:
        """Channels of a head that the position may rotate."""
        return self.head_widths()[0]

    def seen(self, length: int) -> int:
        """Tokens that the last one of ``length`` tokens sees."""
        return length if self.window is None else min(length, self.window)
