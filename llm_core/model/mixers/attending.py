"""What all kinds of softmax attention have in common: their settings, without torch."""

from abc import abstractmethod
from typing import Annotated, ClassVar

from llm_core.experiment.component import KindOf
from llm_core.experiment.layers import DropoutShare, MixerSpec, PositionSpec, Positive, Width
from llm_core.registries import POSITIONS


class AttendingSpec(MixerSpec):
    """A mixer that compares a token with those before it. Its module has a ``position`` and a ``mask_key``."""

    attends: ClassVar[bool] = True

    n_heads: Width
    """Heads of queries."""
    window: Width | None = None
    """A token sees itself and the ``window`` − 1 tokens before it; None: all before it."""
    position: Annotated[PositionSpec, KindOf(POSITIONS, default="rope")] = "rope"  # type: ignore[assignment]
    """What it knows of where tokens stand."""
    scale: Positive | None = None
    """What scores are multiplied by; by default 1 / sqrt(channels of a key)."""
    softcap: Positive | None = None
    """Scores become c · tanh(score / c) (Gemma 2 has 50)."""
    dropout: DropoutShare = 0.0
    """Share of the weights, after the softmax, left out in training."""

    def position_of(self) -> PositionSpec:
        """See ``MixerSpec``."""
        return self.position

    @abstractmethod
    def key_heads(self) -> int:
        """Heads of keys that attention gets."""

    @abstractmethod
    def head_widths(self) -> tuple[int, int]:
        """Channels of a head's queries and keys, and of its values, as attention gets them."""

    def turned_channels(self) -> int:
        """Channels of a head that the position may turn."""
        return self.head_widths()[0]

    def seen(self, length: int) -> int:
        """Tokens that the last one of so many sees."""
        return length if self.window is None else min(length, self.window)
