"""Muon (Jordan et al., 2024) for matrices, AdamW for the rest: its settings."""

from typing import Annotated, Any, Literal

from pydantic import Field

from llm_core.experiment.optimization import OptimizerSpec
from llm_core.registry import load_object
from llm_core.runtime_only import runtime_only

Below1 = Annotated[float, Field(ge=0, lt=1)]


class Muon(OptimizerSpec):
    """Orthogonalised momentum for matrices. AdamW with ``betas`` and ``eps`` updates all other parameters."""

    kind: Literal["muon"] = "muon"

    betas: tuple[Below1, Below1] = (0.9, 0.95)
    """Of AdamW: decay rates of the two running means."""
    eps: Annotated[float, Field(gt=0)] = 1e-8
    """Of AdamW: added to the denominator."""
    momentum: Below1 = 0.95
    """Decay rate of the running mean of a matrix's gradients."""
    nesterov: bool = True
    """Nesterov momentum."""
    steps: Annotated[int, Field(ge=1, le=20)] = 5
    """Iterations of Newton–Schulz."""
    adjust: Literal["match_rms_adamw", "original"] = "match_rms_adamw"
    """``match_rms_adamw``: updates as large as AdamW's, for equal learning rates. ``original`` needs higher ones."""
    lr_ratio: Annotated[float, Field(gt=0)] = 1.0
    """The learning rate of matrices, as a multiple of ``lr``."""

    def build(self, model: Any, device: Any, precision: str) -> Any:
        """See ``OptimizerSpec``."""
        del device  # every device has the kernel of its AdamW
        return load_object("llm_core.train.optimizers.muon.optimizer:muon")(self, model, precision)

    @runtime_only("a formula, held to the optimiser by a test")
    def moments(self, parameters: int, matrices: int) -> int:
        """One per number in matrices of blocks, two per other parameter."""
        return 2 * parameters - matrices
