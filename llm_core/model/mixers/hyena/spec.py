"""Hyena (Poli et al., 2023, arXiv:2302.10866): its settings, checks and costs."""

import math
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from llm_core.experiment.costs import Cost
from llm_core.experiment.layers import LayerSpec, MixerSpec, Positive, Width
from llm_core.registry import load_object
from llm_core.runtime_only import runtime_only

if TYPE_CHECKING:
    from llm_core.experiment.model import ModelSpec


NEAR = 8
"""Distances, from 0 on, that the long convolution sums directly; a power of two."""


def pairs_of_blocks(length: int) -> list[tuple[int, int]]:
    """(tokens of a block, how many pairs of blocks) for every pass of the long convolution over ``length`` tokens."""
    found, size = [], NEAR
    while size < length:
        found.append((size, -(-(length - size) // (2 * size))))
        size *= 2
    return found


class Hyena(MixerSpec):
    """Long convolutions between gates. A small network says the taps of their filters, lag by lag.

    As in the published code, order N has N gates and N − 1 long filters. No finite state holds what such a filter has
    read: generation keeps the gated inputs of all tokens, and reads them all for every new one, as attention does.
    """

    kind: Literal["hyena"] = "hyena"

    max_length: Width
    """Tokens of the longest sequence. Filters are functions of lag / ``max_length``."""
    order: Annotated[int, Field(ge=2)] = 2
    """How many gates there are; long filters are one fewer."""
    kernel: Annotated[int, Field(ge=2)] = 3
    """Taps of the short convolution over values and gates."""
    bands: Width = 16
    """The filter network knows a lag by lag / ``max_length``, and by the sine and cosine of 1 to ``bands`` turns over
    ``max_length``."""
    filter_width: Width = 64
    """Hidden channels of the filter network."""
    filter_layers: Width = 3
    """Layers of the filter network with sine activations; a linear one follows."""
    frequency: Positive = 14.0
    """What the sines' arguments are multiplied by at the start, before training changes it."""
    fast_decay: Positive = 0.3
    """Share of ``max_length`` after which the window of the fastest channel has fallen to a hundredth."""
    slow_decay: Positive = 1.5
    """The same of the slowest channel; decay rates of the others are spaced evenly between."""
    floor: Annotated[float, Field(ge=0)] = 0.05
    """What is added to the windows, so that distant tokens can count."""

    def resolved(self, d_model: int) -> "Hyena":
        """See ``MixerSpec``."""
        del d_model
        if self.fast_decay > self.slow_decay:
            raise ValueError(f"fast_decay {self.fast_decay} is above slow_decay {self.slow_decay}: swap them")
        return self

    def longest(self) -> int | None:
        """See ``MixerSpec``."""
        return self.max_length

    def encoding(self) -> int:
        """Numbers by which the filter network knows a lag."""
        return 1 + 2 * self.bands

    def module(self, model: "ModelSpec", layer: LayerSpec) -> Any:
        """See ``MixerSpec``."""
        return load_object("llm_core.model.mixers.hyena.module:Hyena")(self, model, layer)

    @runtime_only("a formula, held to the module by a test")
    def cost(self, model: "ModelSpec", layer: LayerSpec, length: int) -> Cost:
        """The work of the filter network is left out of ``mixing``: a pass does it once, whatever its rows. What it
        keeps is counted as if a pass had one row. So are the direct sums left out, as those of short convolutions.
        """
        del layer
        d, width, projected = model.d_model, self.filter_width, (self.order + 1) * model.d_model
        long = (self.order - 1) * d
        hidden = (self.encoding() + 1) * width + (self.filter_layers - 1) * (width + 1) * width
        # A real transform of n points has 2.5 · n · log2(n) FLOPs. Each pair of blocks, n tokens, has one of what it
        # reads and one of its results; n / 2 + 1 complex numbers are multiplied in between.
        transformed = sum(
            pairs * (10 * size * int(math.log2(2 * size)) + 6 * (size + 1)) for size, pairs in pairs_of_blocks(length)
        )
        return Cost(
            matmul_parameters=d * projected + d * d,
            # The last ones: the frequencies, the skip connections.
            other_parameters=projected * self.kernel
            + (model.bias and 2 * projected + d)
            + hidden
            + long * width
            + width
            + long,
            mixing_flops=long * transformed // length,
            # What goes into the long convolutions; and the taps of a lag, which all sequences share.
            cache_per_token=2 * long,
            state=projected * (self.kernel - 1),
            # Its input, all projections before and after the short convolution, what goes into the long ones and comes
            # out, and the product.
            saved=d + 2 * projected + 2 * long + d,
            # The taps, their window, and in the filter network what goes into it, products, sines and their arguments.
            saved_fp32=2 * long + self.encoding() + 3 * self.filter_layers * width,
            matmul_outputs=projected + d + self.filter_layers * width + long,
        )

    @runtime_only("told to people")
    def told(self, d_model: int) -> str:
        """See ``MixerSpec``."""
        del d_model
        return f"order {self.order}, {self.max_length:,} lags"
