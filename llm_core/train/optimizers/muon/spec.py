"""Muon (Jordan et al., 2024) for matrices, AdamW for the rest: its settings."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from llm_core.experiment.base import later
from llm_core.experiment.optimization import Below1, OptimizerSpec
from llm_core.registry import load_object
from llm_core.runtime_only import runtime_only


class Muon(OptimizerSpec):
    """Orthogonalised momentum for matrices. AdamW with ``betas`` and ``eps`` updates all other parameters."""

    kind: Literal["muon"] = "muon"

    betas: tuple[Below1, Below1] = (0.9, 0.95)
    """Of AdamW: decay rates of the two running means."""
    eps: Annotated[float, Field(gt=0)] = 1e-8
    """Of AdamW: added to the denominator."""
    momentum: Below1 = 0.95
    """Decay rate of the running mean of a matrix's gradients."""
    lowest_momentum: Below1 | None = later(default=None, absent=None)
    """``momentum`` follows the schedule of the learning rate: this value where the rate is 0, ``momentum`` at its peak.
    null: it stays."""
    nesterov: bool = True
    """Nesterov momentum."""
    steps: Annotated[int, Field(ge=1, le=20)] = 5
    """Iterations of the orthogonalisation."""
    orthogonalization: Literal["quintic", "polar_express"] = later(default="quintic", absent="quintic")
    """``quintic``: Newton–Schulz with one polynomial (Jordan et al., 2024). ``polar_express``: the best polynomial for
    each iteration (Amsel et al., 2025); singular values come closer to 1."""
    equal_rows: bool = later(default=False, absent=False)
    """Before the orthogonalisation, the weights of each output get the same norm (MuonEq, 2026)."""
    neuron_beta2: Below1 | None = later(default=None, absent=None)
    """NorMuon (Li et al., 2025): decay rate of the running mean square of each row of an update (of a wide matrix: each
    column), which normalises it; 0.95 in the paper. null: no normalisation."""
    cautious_weight_decay: bool = later(default=False, absent=False)
    """Matrices: only weights that the update moves towards 0 decay (Chen et al., 2025)."""
    adjust: Literal["match_rms_adamw", "original"] = "match_rms_adamw"
    """``match_rms_adamw``: updates as large as AdamW's, for equal learning rates. ``original`` needs higher ones."""
    lr_ratio: Annotated[float, Field(gt=0)] = 1.0
    """The learning rate of matrices, as a multiple of ``lr``; instead of ``groups.matrices.lr_ratio``."""

    def build(self, model: Any, device: Any, precision: str) -> Any:
        """See ``OptimizerSpec``."""
        del device  # every device has the kernel of its AdamW
        return load_object("llm_core.train.optimizers.muon.optimizer:muon")(self, model, precision)

    def width_power(self) -> float:
        """See ``OptimizerSpec``. ``original`` updates have the spectral norm that the width needs (Yang et al., 2023);
        that of ``match_rms_adamw`` grows with its root."""
        return 0.0 if self.adjust == "original" else -0.5

    @runtime_only("a formula, held to the optimiser by a test")
    def moments(self, parameters: int, matrices: int) -> int:
        """One per number in matrices of blocks, two per other parameter."""
        return 2 * parameters - matrices

    @model_validator(mode="after")
    def _matrices(self) -> Self:
        advice = {"lr_ratio": "set lr_ratio beside lr", "betas": "matrices have momentum", "eps": "matrices have none"}
        given = self.groups["matrices"].given() if "matrices" in self.groups else {}
        if wrong := [name for name in advice if name in given]:
            raise ValueError(f"groups.matrices.{wrong[0]}: muon does not take it here: {advice[wrong[0]]}")
        return self
