"""AdamW (Loshchilov and Hutter, 2019): its settings."""

from typing import Annotated, Any, Literal

from pydantic import Field

from llm_core.experiment.optimization import Below1, OptimizerSpec
from llm_core.registry import load_object
from llm_core.runtime_only import runtime_only


class AdamW(OptimizerSpec):
    """Adaptive moments: running means of every gradient and of its square."""

    kind: Literal["adamw"] = "adamw"

    lr: Annotated[float, Field(gt=0)] = 3e-3
    """The peak of the learning rate."""
    betas: tuple[Below1, Below1] = (0.9, 0.95)
    """Decay rates of the two running means."""
    eps: Annotated[float, Field(gt=0)] = 1e-8
    """Added to the denominator, the root of the second mean."""

    def build(self, model: Any, device: Any, precision: str) -> Any:
        """See ``OptimizerSpec``."""
        del device, precision  # every device has the kernel, and it multiplies no matrices
        return load_object("llm_core.train.optimizers.adamw.optimizer:adamw")(self, model)

    @runtime_only("a formula, held to the optimiser by a test")
    def moments(self, parameters: int, matrices: int) -> int:
        """See ``OptimizerSpec``."""
        del matrices
        return 2 * parameters
