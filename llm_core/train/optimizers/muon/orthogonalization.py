"""Iterations that bring all singular values of a matrix near 1, and keep its singular vectors.

An iteration multiplies by a polynomial of the matrix: x → a·x + b·x³ + c·x⁵ for every singular value x. It needs only
matrix products.
"""

from collections.abc import Sequence
from itertools import islice, repeat

import torch
from torch import Tensor

Quintic = tuple[float, float, float]

QUINTIC: Quintic = (3.4445, -4.7750, 2.0315)
"""Jordan et al. (2024). It is steep at 0: five iterations bring singular values above 0.003 into 0.7 to 1.2. They need
not be closer to 1."""

POLAR_EXPRESS: tuple[Quintic, ...] = (
    (8.28721201814563, -23.595886519098837, 17.300387312530933),
    (4.107059111542203, -2.9478499167379106, 0.5448431082926601),
    (3.9486908534822946, -2.908902115962949, 0.5518191394370137),
    (3.3184196573706015, -2.488488024314874, 0.51004894012372),
    (2.300652019954817, -1.6689039845747493, 0.4188073119525673),
    (1.891301407787398, -1.2679958271945868, 0.37680408948524835),
    (1.8750014808534479, -1.2500016453999487, 0.3750001645474248),
    (1.875, -1.25, 0.375),
)
"""Amsel et al. (2025): each polynomial is the best one for the interval that those before leave, from singular values
in 0.001 to 1. The last one is repeated."""

SAFETY = 1.01
"""Polar Express evaluates all polynomials but the last at x / 1.01: rounding may bring singular values above the
interval, where the polynomials diverge."""


def polynomials(kind: str, steps: int) -> tuple[Quintic, ...]:
    """The polynomials of ``steps`` iterations. ``kind``: "quintic" or "polar_express"."""
    if kind == "quintic":
        return (QUINTIC,) * steps
    *first, last = POLAR_EXPRESS
    safe = [(a / SAFETY, b / SAFETY**3, c / SAFETY**5) for a, b, c in first]
    return tuple(islice([*safe, *repeat(last, steps)], steps))


def orthogonalised(matrices: Tensor, iterations: Sequence[Quintic]) -> Tensor:
    """(N, rows, columns) → the same with all singular values near 1.

    Computes in the dtype of ``matrices``. A matrix of zeros stays zero.
    """
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.mT if tall else matrices
    norms = torch.linalg.vector_norm(x, dim=(-2, -1), keepdim=True, dtype=torch.float32)
    x = x / norms.clamp(min=1e-7).to(x.dtype)
    for a, b, c in iterations:
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x
