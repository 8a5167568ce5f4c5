"""The interfaces of optimisers and learning-rate schedules, the components of ``training``."""

from abc import abstractmethod
from typing import Annotated, Any

from pydantic import Field

from llm_core.experiment.component import Component
from llm_core.runtime_only import runtime_only


class OptimizerSpec(Component):
    """Updates the weights from the gradients. A kind defines ``build``.

    Weight decay is decoupled. It applies to matrices, embeddings and head, not to gains, biases and convolutions.
    """

    lr: Annotated[float, Field(gt=0)]
    """The peak of the learning rate."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.1
    """How fast weights shrink: each step takes this times the learning rate of them."""

    @abstractmethod
    def build(self, model: Any, device: Any, precision: str) -> Any:
        """The ``torch.optim.Optimizer`` of ``model``. ``precision``: of the run, for optimisers that multiply matrices.

        Its groups come from ``llm_core.train.parameter_groups``. It skips a step whose ``found_inf`` is set, and
        multiplies a group's ``lr`` by ``lr_ratio``.
        """

    @abstractmethod
    @runtime_only("a formula, held to the optimiser by a test")
    def moments(self, parameters: int, matrices: int) -> int:
        """How many numbers its state has for a model with this many ``parameters`` (``matrices``: those in matrices of
        blocks)."""


class ScheduleSpec(Component):
    """The learning rate of every step, as a share of the optimiser's ``lr``. A kind defines ``share``.

    All kinds warm up linearly; the last warm-up step has the full rate.
    """

    warmup_steps: Annotated[int, Field(ge=0)] = 0
    """Steps in which the rate rises to its peak."""

    @abstractmethod
    def share(self, step: int, steps: int) -> float:
        """The share, from 0 to 1, at ``step`` (from 0) of a run of ``steps``."""

    def warmup(self, step: int) -> float:
        """The share at ``step`` without any decay."""
        return min(1.0, (step + 1) / self.warmup_steps) if self.warmup_steps else 1.0

    @runtime_only("refuses a run before it starts")
    def falling_steps(self) -> int:
        """The number of steps at the end in which the rate falls."""
        return 0

    @runtime_only("refuses a run before it starts")
    def stays(self) -> bool:
        """Whether the rate stays at its peak between the warm-up and the ``falling_steps``."""
        return False


class FallingSpec(ScheduleSpec):
    """A schedule whose rate falls."""

    final_share: Annotated[float, Field(ge=0, le=1)] = 0.1
    """The schedule's share one step after the end. It is never reached, so the last step's rate is above zero even when
    this is 0."""
