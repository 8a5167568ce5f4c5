"""What optimisers and schedules are asked for: the components of ``training`` that move the weights."""

from abc import abstractmethod
from typing import Annotated, Any

from pydantic import Field

from llm_core.experiment.component import Component
from llm_core.runtime_only import runtime_only


class OptimizerSpec(Component):
    """What a step does with the gradients. A kind has ``build``.

    Decay is decoupled. Matrices, embeddings and head decay; gains, biases and convolution kernels do not.
    """

    lr: Annotated[float, Field(gt=0)]
    """The peak of the learning rate."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.1
    """How fast weights shrink: each step takes this times the learning rate of them."""

    @abstractmethod
    def build(self, model: Any, device: Any, precision: str) -> Any:
        """The ``torch.optim.Optimizer`` of ``model``. ``precision``: the run's, for optimisers that multiply matrices.

        Its groups come from ``llm_core.train.groups.parameter_groups``. It skips a step whose ``found_inf`` is set, and
        multiplies a group's ``lr`` by ``lr_ratio``.
        """

    @abstractmethod
    @runtime_only("a formula, held to the optimiser by a test")
    def moments(self, parameters: int, matrices: int) -> int:
        """Numbers that it keeps for a model of so many ``parameters``, of which ``matrices`` in blocks."""


class ScheduleSpec(Component):
    """The learning rate as a share of the optimiser's ``lr`` at every step. A kind has ``share``.

    All warm up linearly, so that the last warm-up step has the full rate.
    """

    warmup_steps: Annotated[int, Field(ge=0)] = 0
    """Steps in which the rate rises to its peak."""

    @abstractmethod
    def share(self, step: int, steps: int) -> float:
        """The share, from 0 to 1, at ``step`` (from 0) of a run of ``steps``."""

    def warmup(self, step: int) -> float:
        """The share at ``step`` where nothing falls."""
        return min(1.0, (step + 1) / self.warmup_steps) if self.warmup_steps else 1.0

    @runtime_only("refuses a run before it starts")
    def falling_steps(self) -> int:
        """Steps at the end that are sure to have a falling rate."""
        return 0

    @runtime_only("refuses a run before it starts")
    def stays(self) -> bool:
        """Whether the rate stays at its peak between the warm-up and the ``falling_steps``."""
        return False


class FallingSpec(ScheduleSpec):
    """A schedule that falls."""

    final_share: Annotated[float, Field(ge=0, le=1)] = 0.1
    """The share that the step after the last one would have; so the last step has a rate even where this is 0."""
