"""The interfaces of optimisers and learning-rate schedules, the components of ``training``."""

from abc import abstractmethod
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from llm_core.experiment.base import Spec, later, outside_identity
from llm_core.experiment.component import Component
from llm_core.runtime_only import runtime_only

Below1 = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]

KINDS = (
    *("matrices", "embeddings", "value_embeddings", "ngram_embeddings", "head"),
    *("vectors", "residual_scales", "input_scales"),
)
"""The kinds of parameters, which ``llm_core.train.parameter_groups`` tells apart."""


def _percent(text: str) -> str:
    try:
        number = float(text.removesuffix("%"))
    except ValueError:
        number = -1.0
    if not (text.endswith("%") and 0 < number <= 100):
        raise ValueError("give a share of the run's steps, above 0% and up to 100%, such as 2%")
    return text


Percent = Annotated[str, AfterValidator(_percent)]
"""A share of the steps of a run: ``2%``."""


class GroupSpec(Spec):
    """Settings of one kind of parameters. The optimiser's settings apply where these are left out."""

    lr_ratio: Positive | None = later(default=None, absent=None)
    """Their learning rate, as a multiple of the optimiser's ``lr``. null: 1."""
    weight_decay: Annotated[float, Field(ge=0)] | None = later(default=None, absent=None)
    """How fast they shrink: each step takes this times their learning rate of them. null: the optimiser's for
    matrices, embeddings and head, 0 for all others."""
    betas: tuple[Below1, Below1] | None = later(default=None, absent=None)
    """Decay rates of the two running means. null: the optimiser's."""
    eps: Positive | None = later(default=None, absent=None)
    """Added to the denominator. null: the optimiser's."""

    def given(self) -> dict[str, Any]:
        """Setting → value, for those that are not left out."""
        return {name: value for name, value in self if value is not None}


class OptimizerSpec(Component):
    """Updates the weights from the gradients. A kind defines ``build``.

    Weight decay is decoupled. It applies to matrices, embeddings and head, not to gains, biases and convolutions.
    """

    lr: Annotated[float, Field(gt=0)]
    """The peak of the learning rate."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.1
    """How fast weights shrink: each step takes this times the learning rate of them."""
    weight_decay_schedule: Literal["constant", "with_rate"] = later(default="constant", absent="constant")
    """``with_rate``: weight decay has the schedule of the learning rate, in addition to its factor in the step. It
    rises in the warm-up, and falls to ``final_share``. ``constant``: it stays."""
    groups: dict[str, GroupSpec] = later(default={}, absent={})
    """Kind of parameters → settings that differ from the optimiser's. Kinds: ``matrices``, ``embeddings``,
    ``value_embeddings``, ``ngram_embeddings``, ``head``, ``vectors`` (gains, biases and the like),
    ``residual_scales``, ``input_scales``."""

    @abstractmethod
    def build(self, model: Any, device: Any, precision: str) -> Any:
        """The ``torch.optim.Optimizer`` of ``model``. ``precision``: of the run, for optimisers that multiply matrices.

        Its groups come from ``llm_core.train.parameter_groups``, which also sets their learning rates in each step. It
        skips a step whose ``found_inf`` is set.
        """

    def width_power(self) -> float:
        """How the best learning rate of matrices changes with the width of a model that has a parametrisation: as the
        width to this power. −1 for updates whose size does not depend on the gradient's, as AdamW's (Yang et al.,
        2022)."""
        return -1.0

    @abstractmethod
    @runtime_only("a formula, held to the optimiser by a test")
    def moments(self, parameters: int, matrices: int) -> int:
        """How many numbers its state has for a model with this many ``parameters`` (``matrices``: those in matrices of
        blocks). Vectors with one number per row or column of a matrix are left out: they are as small as
        biases."""

    @model_validator(mode="after")
    def _groups(self) -> Self:
        for kind, group in self.groups.items():
            if kind not in KINDS:
                raise ValueError(f"groups.{kind}: unknown kind of parameters; known: {', '.join(KINDS)}")
            for name in ("betas", "eps"):
                if name in group.given() and name not in type(self).model_fields:
                    raise ValueError(f"groups.{kind}.{name}: this optimiser has no {name}; leave it out")
        return self


class ScheduleSpec(Component):
    """The learning rate of every step, as a share of the optimiser's ``lr``. A kind defines ``share``.

    All kinds warm up linearly; the last warm-up step has the full rate.
    """

    warmup_steps: Annotated[int, Field(ge=0)] = 0
    """Steps in which the rate rises to its peak."""
    warmup: Percent | None = outside_identity(default=None)
    """The same as a share of the run, instead of ``warmup_steps``: ``2%``. It counts as the steps that it gives."""

    shares_of_run: ClassVar[dict[str, str]] = {"warmup": "warmup_steps"}
    """Settings that are shares of the run → the settings in steps that they stand for."""

    @abstractmethod
    def share(self, step: int, steps: int) -> float:
        """The share, from 0 to 1, at ``step`` (from 0) of a run of ``steps``."""

    def warmup_share(self, step: int) -> float:
        """The share at ``step`` without any decay."""
        return min(1.0, (step + 1) / self.warmup_steps) if self.warmup_steps else 1.0

    def resolved(self, steps: int) -> Self:
        """The schedule of a run of ``steps``: shares of the run are now steps, at least one."""
        given = {name: share for name in self.shares_of_run if (share := getattr(self, name)) is not None}
        parts = {name: float(share.removesuffix("%")) / 100 for name, share in given.items()}
        return self.model_copy(
            update={self.shares_of_run[name]: max(1, round(part * steps)) for name, part in parts.items()}
        )

    @model_validator(mode="after")
    def _steps_or_share(self) -> Self:
        for share, steps in self.shares_of_run.items():
            if getattr(self, share) is not None and getattr(self, steps):
                raise ValueError(
                    f"give {share} or {steps}, and not both; to replace one of another file, set {share}: null or "
                    f"{steps}: 0"
                )
        return self

    @model_serializer(mode="wrap")
    def _as_written(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without steps that follow from a share: a variant may have another number of steps."""
        follow = [steps for share, steps in self.shares_of_run.items() if getattr(self, share) is not None]
        return {name: value for name, value in handler(self).items() if name not in follow}

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
