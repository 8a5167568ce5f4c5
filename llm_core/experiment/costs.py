"""What a part of a layer costs. Each component says it by formula, without torch; a test holds it to the module."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Cost:
    """``matrices``: parameters that multiply every token. ``idle``: parameters of matrices that a token does not pass
    (experts that are not chosen). ``vectors``: all other parameters. ``mixing``: FLOPs of the forward pass for a token
    beside the products with matrices. ``cached``: numbers that a token adds to the decoding state; ``state``: numbers
    that it holds whatever its length, and ``wide_state`` those that are fp32 in any model. ``kept``: numbers, in the
    type that products are done in, that the forward pass keeps for the backward pass, a token; ``wide_kept``: the same,
    fp32 in any precision; ``widened``: the same in fp32, which autocast keeps twice. ``products``: numbers that
    products with matrices and attention's kernel yield.
    """

    matrices: int = 0
    idle: int = 0
    vectors: int = 0
    mixing: int = 0
    cached: int = 0
    state: int = 0
    wide_state: int = 0
    kept: int = 0
    wide_kept: int = 0
    widened: int = 0
    products: int = 0

    @property
    def parameters(self) -> int:
        """All parameters."""
        return self.matrices + self.idle + self.vectors
