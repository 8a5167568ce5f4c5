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
"""The number of distances, from 0 on, that the long convolution sums directly; a power of two."""


def pairs_of_blocks(length: int) -> list[tuple[int, int]]:
    """(tokens of a block, number of pairs of blocks) for every pass of the long convolution over ``length`` tokens."""
    found, size = [], NEAR
    while size < length:
        found.append((size, -(-(length - size) // (2 * size))))
        size *= 2
    return found


class Hyena(MixerSpec):
    """Long convolutions that alternate with gates. A small network computes the taps of their filters as a function of
    the lag.

    As in the published code, order N has N gates and N − 1 long filters. Such a filter has no finite state: generation
    stores the gated inputs of all tokens, and reads them all for every new token, as attention does.
    """

    kind: Literal["hyena"] = "hyena"

    max_length: Width
    """Tokens of the longest sequence. Filters are functions of lag / ``max_length``."""
    order: Annotated[int, Field(ge=2)] = 2
    """The number of gates, which is one more than the number of long filters."""
    kernel: Annotated[int, Field(ge=2)] = 3
    """Taps of the short convolution over values and gates."""
    bands: Width = 16
    """The filter network encodes a lag as lag / ``max_length`` and as sines and cosines with 1 to ``bands`` periods
    over ``max_length``."""
    filter_width: Width = 64
    """Hidden channels of the filter network."""
    filter_layers: Width = 3
    """Layers of the filter network with sine activations; a linear one follows."""
    frequency: Positive = 14.0
    """The initial factor of the sines' arguments, which is trained."""
    fast_decay: Positive = 0.3
    """The window of the fastest channel decays to 0.01 within this share of ``max_length``."""
    slow_decay: Positive = 1.5
    """The same for the slowest channel. The decay rates of the other channels are evenly spaced in between."""
    floor: Annotated[float, Field(ge=0)] = 0.05
    """A constant that is added to the windows, so that distant tokens can matter."""

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
        """The numbers that encode a lag for the filter network."""
        return 1 + 2 * self.bands

    def module(self, model: "ModelSpec", layer: LayerSpec) -> Any:
        """See ``MixerSpec``."""
        return load_object("llm_core.model.mixers.hyena.module:Hyena")(self, model, layer)

    @runtime_only("a formula, held to the module by a test")
    def cost(self, model: "ModelSpec", layer: LayerSpec, length: int) -> Cost:
        """``mixing_flops`` do not include the filter network, which runs once per pass for all rows, and the direct
        sums. The saved activations of the network are counted as for a pass with one row.
        """
        del layer
        d, width, projected = model.d_model, self.filter_width, (self.order + 1) * model.d_model
        long = (self.order - 1) * d
        hidden = (self.encoding() + 1) * width + (self.filter_layers - 1) * (width + 1) * width
        # A real transform of n points has 2.5 · n · log2(n) FLOPs. Each pair of blocks, n tokens, has one transform of
        # its input and one of its result. In between, n / 2 + 1 complex numbers are multiplied.
        transformed = sum(
            pairs * (10 * size * int(math.log2(2 * size)) + 6 * (size + 1)) for size, pairs in pairs_of_blocks(length)
        )
        return Cost(
            matmul_parameters=d * projected + d * d,
            # The last two terms: the frequencies and the skip connections.
            other_parameters=projected * self.kernel
            + (model.bias and 2 * projected + d)
            + hidden
            + long * width
            + width
            + long,
            mixing_flops=long * transformed // length,
            # The inputs of the long convolutions, and the taps of a lag, which all sequences share.
            cache_per_token=2 * long,
            state=projected * (self.kernel - 1),
            # Its input, all projections before and after the short convolution, the inputs and results of the long
            # ones, and the product.
            saved=d + 2 * projected + 2 * long + d,
            # The taps and their window; the filter network's encoding, products, sines and their arguments.
            saved_fp32=2 * long + self.encoding() + 3 * self.filter_layers * width,
            matmul_outputs=projected + d + self.filter_layers * width + long,
        )

    @runtime_only("told to people")
    def told(self, d_model: int) -> str:
        """See ``MixerSpec``."""
        del d_model
        return f"order {self.order}, {self.max_length:,} lags"
