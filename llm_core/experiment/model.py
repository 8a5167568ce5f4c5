"""The section that describes a model."""

from typing import Annotated

from pydantic import Field, model_validator

from llm_core.experiment.base import Spec, one_of
from llm_core.registries import ARCHITECTURES, FEED_FORWARDS, NORMS, POSITIONS

RUNTIME_ONLY = True

Width = Annotated[int, Field(ge=1)]


class ModelSpec(Spec):
    """A decoder-only transformer."""

    architecture: Annotated[str, one_of(ARCHITECTURES)] = "llama"
    d_model: Width
    n_layers: Width
    n_heads: Width
    n_kv_heads: Width
    d_ff: Width
    norm: Annotated[str, one_of(NORMS)] = "rmsnorm"
    norm_eps: Annotated[float, Field(gt=0)] = 1e-5
    position: Annotated[str, one_of(POSITIONS)] = "rope"
    rope_theta: Annotated[float, Field(gt=0)] = 10_000.0
    feed_forward: Annotated[str, one_of(FEED_FORWARDS)] = "swiglu"
    tie_embeddings: bool = True
    qk_norm: bool = False
    document_mask: bool = False
    """Attention stays within a document."""
    init_std: Annotated[float, Field(gt=0)] = 0.02

    @property
    def head_dim(self) -> int:
        """Dimensions of one attention head."""
        return self.d_model // self.n_heads

    @model_validator(mode="after")
    def _shapes(self) -> "ModelSpec":
        if self.d_model % self.n_heads:
            raise ValueError(f"d_model {self.d_model} is not a multiple of n_heads {self.n_heads}")
        if self.n_heads % self.n_kv_heads:
            raise ValueError(f"n_heads {self.n_heads} is not a multiple of n_kv_heads {self.n_kv_heads}")
        if self.position == "rope" and self.head_dim % 2:
            raise ValueError(f"rope turns pairs: d_model / n_heads = {self.head_dim} must be even")
        return self
