"""Muon (Jordan et al., 2024) for matrices, AdamW for the rest: its settings."""

from typing import Annotated, Any, Literal

from pydantic import Field

from llm_core.experiment.optimization import OptimizerSpec
from llm_core.registry import load_object
from llm_core.runtime_only import runtime_only

Below1 = Annotated[float, Field(ge=0, lt=1)]


class Muon(OptimizerSpec):
    """Momentum of matrices, made orthogonal. All else moves by AdamW with ``betas`` and ``eps``."""

    kind: Literal["muon"] = "muon"

    betas: tuple[Below1, Below1] = (0.9, 0.95)
    """Of AdamW: how much of its two running means stays at each step."""
    eps: Annotated[float, Field(gt=0)] = 1e-8
    """Of AdamW: what is added to the root that is divided by."""
    momentum: Below1 = 0.95
    """How much of a matrix's running mean stays at each step."""
    nesterov: bool = True
    """Whether it looks a step ahead."""
    steps: Annotated[int, Field(ge=1, le=20)] = 5
    """Rounds of Newton and Schulz's iteration."""
    adjust: Literal["match_rms_adamw", "original"] = "match_rms_adamw"
    """``match_rms_adamw``: steps as large as AdamW's, so that its rates fit. ``original`` wants higher ones."""
    lr_ratio: Annotated[float, Field(gt=0)] = 1.0
    """The rate of matrices as a multiple of ``lr``."""

    def build(self, model: Any, device: Any, precision: str) -> Any:
        """See ``OptimizerSpec``."""
        return load_object("llm_core.train.optimizers.muon.optimizer:muon")(self, model, device, precision)

    @runtime_only("a formula, held to the optimiser by a test")
    def moments(self, parameters: int, matrices: int) -> int:
        """One of the matrices in blocks, two of all else."""
        return 2 * parameters - matrices
