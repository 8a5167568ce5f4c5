"""The section ``study.mixtures``: runs with other weights of the sources, from which a law of mixtures is fitted."""

import math
from typing import Annotated

from pydantic import Field, model_validator

from llm_core.experiment.base import Count, Share, Spec
from llm_core.experiment.layers import Positive

LEAST_HELD_OUT = 4
"""Fewer held-out mixtures can't be in the right order by more than chance: 1 in 24 at a level of 5%."""


class MixturesSpec(Spec):
    """Mixtures spread evenly over all weights that are allowed, each trained once at one size. The first ones are held
    out of the law and test it."""

    sources: Annotated[tuple[str, ...], Field(min_length=2)]
    """The sources that are mixed. Runs of mixtures read no others."""
    width: Count
    """The size of the runs, one of the study's. Each has the last budget of this size, and its learning rate."""
    runs: Count = 20
    """Different mixtures, the held-out ones included. More of them keep those that there are."""
    held_out: Annotated[int, Field(ge=LEAST_HELD_OUT)] = 5
    """Mixtures that the law is not fitted to, but must predict."""
    seeds: Annotated[int, Field(ge=2)] = 2
    """Runs of each held-out mixture. They tell differences between mixtures from noise."""
    least: Annotated[float, Field(ge=0.002, lt=1)] = 0.02
    """The smallest share of every source. It is above 0, because the loader has 1,024 sequences per cycle."""
    most: dict[str, Share] = Field(default_factory=dict)
    """Source → its largest share, for a source with little text."""
    max_epochs: Positive = 4.0
    """Maximum number of passes over a source, of the runs and of a recommended mixture in the full run."""
    target: dict[str, Positive] = Field(default_factory=dict)
    """Source → weight of its held-out loss. Only the ratios count. By default each source counts by its held-out
    bytes."""
    least_parameters: Annotated[int, Field(ge=0)] = 15_000_000
    """Runs of smaller models recommend no mixture: in Olmix (2026), those below 15M parameters did not rank mixtures as
    larger models do."""

    @model_validator(mode="after")
    def _agrees(self) -> "MixturesSpec":
        if len(set(self.sources)) < len(self.sources):
            raise ValueError(f"sources: {', '.join(self.sources)}: each only once")
        for name, given in (("most", self.most), ("target", self.target)):
            if unknown := sorted(given.keys() - set(self.sources)):
                raise ValueError(f"{name}: {', '.join(unknown)}: not among the sources {', '.join(self.sources)}")
        fitted = self.runs - self.held_out
        if fitted < len(self.sources) + 4:
            raise ValueError(
                f"runs: {self.runs}, of which {self.held_out} are held out, leave {fitted} for a law of "
                f"{len(self.sources)} sources, which takes {len(self.sources) + 4}"
            )
        if math.fsum([self.least] * len(self.sources)) >= 1:
            raise ValueError(f"least: {self.least:g} for each of {len(self.sources)} sources leaves nothing to vary")
        largest = [self.most.get(source, 1.0) for source in self.sources]
        if min(largest) <= self.least or math.fsum(largest) <= 1:
            raise ValueError("most: no shares between least and most add up to 1 and can vary")
        return self
