"""Rotary positions (Su et al., 2021) and their scaling for longer texts: settings and checks."""

import math
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from llm_core.experiment.base import Spec, later
from llm_core.experiment.layers import PositionSpec, Positive, Width
from llm_core.registry import load_object


class RopeScaling(Spec):
    """Scaling of the angles, so that a model reads longer texts than those of training."""

    kind: Literal["linear", "ntk", "llama3", "yarn"]
    """``linear``: positions divided by ``factor`` (Chen et al., 2023). ``ntk``: a larger base instead (bloc97, 2023).
    ``llama3``: slow channels divided, fast ones left (Llama team, 2024). ``yarn``: the same with a ramp over rotations,
    and a temperature on the scores (Peng et al., 2023)."""
    factor: Annotated[float, Field(ge=1)]
    """The factor by which texts may become longer."""
    original_length: Width
    """Tokens of a sequence before the extension."""
    low_frequency: Positive = 1.0
    """``llama3``, ``yarn``: channels with fewer rotations within ``original_length`` are divided in full."""
    high_frequency: Positive = 4.0
    """``llama3``, ``yarn``: channels with more rotations are not divided (32 in YaRN's paper)."""

    @model_validator(mode="after")
    def _ordered(self) -> "RopeScaling":
        if self.high_frequency <= self.low_frequency:
            raise ValueError(f"high_frequency {self.high_frequency} must be above low_frequency {self.low_frequency}")
        return self


class Rope(PositionSpec):
    """Rotates pairs of channels of queries and keys by angles proportional to the position."""

    kind: Literal["rope"] = "rope"

    theta: Positive = 10_000.0
    """The base of the angles. A larger base makes slow channels slower."""
    scaling: RopeScaling | None = None
    """Scaling of the angles for texts longer than those of training; null: none."""
    share: Annotated[float, Field(gt=0, le=1)] = later(default=1.0, absent=1.0)
    """The share of a head's channels that are rotated, the first ones. The others have no positions (Black et al.,
    2022, GPT-NeoX)."""

    def rotated(self, channels: int) -> int:
        """How many of a head's ``channels`` it rotates."""
        return int(channels * self.share)

    def check(self, channels: int) -> None:
        """See ``PositionSpec``."""
        rotated = self.rotated(channels)
        if rotated % 2 or not rotated:
            what = "head_dim" if self.share == 1 else f"share {self.share:g} of head_dim {channels} is"
            raise ValueError(f"rope turns pairs: {what} {rotated} must be even" + ("" if rotated else " and above 0"))
        channels = rotated
        if self.scaling is not None and self.scaling.kind == "ntk" and channels < 4:
            raise ValueError(
                f"rope's scaling 'ntk' stretches all pairs of channels but one: {channels} channels are one"
            )
        if self.scaling is not None and self.scaling.kind == "yarn" and self.theta <= 1:
            raise ValueError("rope's scaling 'yarn' wants channels of different speeds: theta must be above 1")

    def check_stretched(self, before: PositionSpec, trained: int, length: int) -> None:
        """See ``PositionSpec``."""
        scaling = self.scaling
        if scaling is None or not isinstance(before, Rope) or scaling == before.scaling:
            return
        original = scaling.original_length
        if before.scaling is None:  # otherwise this scaling replaces it and has the same original length
            if scaling.kind in ("llama3", "yarn") and original != trained:
                raise ValueError(
                    f"scaling.original_length {original}: the full run has sequences of {trained} tokens "
                    f"(training.sequence_length): make it {trained}"
                )
            original = trained
        # llama3's factor is not the ratio of lengths, and with another base the factor is only a part of the change.
        if self.theta == before.theta and scaling.kind != "llama3" and scaling.factor * original < length:
            raise ValueError(
                f"scaling.factor {scaling.factor}: {original} tokens become {scaling.factor * original:g}, and a "
                f"sequence has {length} (long_context.training.sequence_length): make it "
                f"{math.ceil(100 * length / original) / 100:g} or more"
            )

    def module(self, n_heads: int, channels: int) -> Any:
        """See ``PositionSpec``."""
        return load_object("llm_core.model.positions.rope.module:Rope")(self, n_heads, channels)

    def reach(self, trained: int) -> int:
        """See ``PositionSpec``."""
        return (
            trained if self.scaling is None else max(trained, int(self.scaling.factor * self.scaling.original_length))
        )

    def facts(self, channels: int) -> dict[str, Any]:
        """Settings with equal angles have equal facts: ``ntk`` is a larger base, and ``linear`` needs only its
        factor."""
        channels = self.rotated(channels)
        told = {"position": self.kind, "rotated": channels, "theta": self.theta, "scaling": None}
        scaling = self.scaling
        if scaling is None:
            return told
        if scaling.kind == "ntk":
            return {**told, "theta": self.theta * scaling.factor ** (channels / (channels - 2))}
        only = {"kind", "factor"} if scaling.kind == "linear" else None
        return {**told, "scaling": scaling.model_dump(include=only)}
