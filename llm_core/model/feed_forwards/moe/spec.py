"""Mixture of experts: its settings, checks and costs."""

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, model_validator

from llm_core.experiment.component import with_width
from llm_core.experiment.costs import Cost
from llm_core.experiment.layers import FeedForwardSpec, LayerSpec, Positive, Width
from llm_core.registry import load_object
from llm_core.runtime_only import runtime_only

if TYPE_CHECKING:
    from llm_core.experiment.model import ModelSpec


class MixtureOfExperts(FeedForwardSpec):
    """A router sends every token to ``top_k`` of ``experts`` SwiGLUs. No token is dropped."""

    kind: Literal["moe"] = "moe"
    routes = True

    experts: Annotated[int, Field(ge=2)]
    """The number of experts."""
    top_k: Width
    """Experts per token."""
    d_ff: Width = with_width()
    """Hidden channels of one expert."""
    shared: Annotated[int, Field(ge=0)] = 0
    """The width of the shared expert, which every token uses, as a multiple of ``d_ff``."""
    score: Literal["softmax", "sigmoid"] = "softmax"
    """The function from the router's outputs to weights."""
    normalise: bool = True
    """Whether the weights of a token's experts are normalised to a sum of 1."""
    scale: Positive = 1.0
    """A factor of the weights after normalisation."""
    balance_loss: Annotated[float, Field(ge=0)] = 0.01
    """Weight of the load-balancing loss (Fedus et al., 2021). It may be 0, also without ``bias_rate``, as in some
    published models."""
    bias_rate: Annotated[float, Field(ge=0)] = 0.0
    """Step of the selection bias, which balances without a loss (Wang et al., 2024); 0: no bias."""

    @model_validator(mode="after")
    def _fits(self) -> "MixtureOfExperts":
        if self.top_k > self.experts:
            raise ValueError(f"top_k {self.top_k} is more than experts {self.experts}")
        return self

    @runtime_only("told to people")
    def has_own_loss(self) -> bool:
        """See ``FeedForwardSpec``."""
        return self.balance_loss > 0

    def module(self, model: "ModelSpec", layer: LayerSpec) -> Any:
        """See ``FeedForwardSpec``."""
        return load_object("llm_core.model.feed_forwards.moe.module:MixtureOfExperts")(self, model, layer)

    @runtime_only("refuses a run before it starts")
    def check_trained(self) -> None:
        """See ``FeedForwardSpec``."""
        if self.top_k == 1 and self.normalise:
            raise ValueError(
                "top_k 1: normalised, the weight of a single expert is always 1, and the router learns nothing from "
                "the loss: say normalise: false"
            )

    @runtime_only("a formula, held to the module by a test")
    def cost(self, model: "ModelSpec", layer: LayerSpec, length: int) -> Cost:
        """A token uses ``top_k`` experts and the shared ones."""
        del layer, length
        d, f, shared = model.d_model, self.d_ff, self.shared * self.d_ff
        return Cost(
            matmul_parameters=d * self.experts + 3 * d * (self.top_k * f + shared),
            inactive_parameters=3 * d * f * (self.experts - self.top_k),
            other_parameters=(model.bias and shared) and 2 * shared + d,
            # Its input; for each expert of a token its input, gate, up, silu(gate), the product and the result.
            saved=d + self.top_k * (2 * d + 4 * f) + (shared and d + 4 * shared),
            # The router's input and scores, and the results in the order of tokens.
            saved_fp32_twice=d + 2 * self.experts + self.top_k * d,
            matmul_outputs=self.experts + self.top_k * (2 * f + d) + (shared and 2 * shared + d),
        )

    @runtime_only("refuses a run before it starts")
    def half_precision_errors(self, d_model: int) -> list[str]:
        """The kernel that multiplies the rows of all experts at once needs rows of a multiple of 16 bytes."""
        return [
            f"{name} {width}: products of experts in half precision want a multiple of 8 on a GPU; "
            f"{-(-width // 8) * 8} is one"
            for name, width in (("feed_forward.d_ff", self.d_ff), ("d_model", d_model))
            if width % 8
        ]

    def facts(self) -> dict[str, Any]:
        """See ``FeedForwardSpec``."""
        told = self.model_dump(exclude={"balance_loss", "bias_rate"})
        return {**told, "selection bias": self.bias_rate > 0}

    @runtime_only("told to people")
    def told(self) -> str:
        """See ``FeedForwardSpec``."""
        shared = f" + {self.shared}" if self.shared else ""
        return f"moe {self.top_k}{shared} of {self.experts} × {self.d_ff:,}"
