"""The costs of a component, by formula and without torch. A test compares the formulas with the modules."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Cost:
    """The costs of a mixer or a feed-forward in one layer."""

    matmul_parameters: int = 0
    """Parameters in matrices that multiply every token."""
    inactive_parameters: int = 0
    """Parameters in matrices that a token does not use: those of inactive experts."""
    other_parameters: int = 0
    """All other parameters."""
    mixing_flops: int = 0
    """FLOPs of the forward pass per token, without the products with matrices of parameters."""
    cache_per_token: int = 0
    """Numbers of decoding state for each token read."""
    state: int = 0
    """Numbers of decoding state of constant size."""
    state_fp32: int = 0
    """The same for state that is always fp32."""
    saved: int = 0
    """Activations that the forward pass saves for the backward pass, in numbers per token, in the compute type."""
    saved_fp32: int = 0
    """The same for activations that are always fp32."""
    saved_fp32_twice: int = 0
    """The same for fp32 activations that autocast saves twice."""
    matmul_outputs: int = 0
    """Outputs of matrix products and of attention's kernel, in numbers per token."""

    @property
    def parameters(self) -> int:
        """All parameters."""
        return self.matmul_parameters + self.inactive_parameters + self.other_parameters
