"""The costs of a component, by formula and without torch. A test compares the formulas with the modules."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Cost:
    """The costs of a component.

    Parameters: ``matrices``, in matrices that multiply every token; ``idle``, in matrices that a token does not use
    (inactive experts); ``vectors``, all others. ``mixing``: FLOPs of the forward pass per token, without the products
    with matrices.

    Decoding state, in numbers: ``cached``, per token; ``state``, of constant size; ``wide_state``, of constant size
    and always fp32.

    Activations that the forward pass saves for the backward pass, in numbers per token: ``kept``, in the compute type;
    ``wide_kept``, always fp32; ``widened``, in fp32, which autocast saves twice. ``products``: the outputs of matrix
    products and of attention's kernel, in numbers per token.
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
