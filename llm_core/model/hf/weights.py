"""The conversion between our weights and theirs: one declaration for both directions."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from llm_core.experiment.layers import LayerSpec
from llm_core.experiment.model import ModelSpec
from llm_core.model.mixers.attention.spec import Attention


class Form(Protocol):
    """The conversion between one tensor of ours and one or several of theirs."""

    def join(self, theirs: Sequence[Tensor]) -> Tensor:
        """Theirs → ours."""

    def split(self, ours: Tensor) -> list[Tensor]:
        """Ours → theirs."""


class Same:
    """The same tensor."""

    def join(self, theirs: Sequence[Tensor]) -> Tensor:
        """See ``Form``."""
        return theirs[0]

    def split(self, ours: Tensor) -> list[Tensor]:
        """See ``Form``."""
        return [ours]


class Transposed(Same):
    """A matrix that is stored transposed (GPT-2's Conv1D), or an unchanged vector."""

    def join(self, theirs: Sequence[Tensor]) -> Tensor:
        """See ``Form``."""
        return theirs[0].t()

    def split(self, ours: Tensor) -> list[Tensor]:
        """See ``Form``."""
        return [ours.t()]


class OnePlus(Same):
    """A weight that is stored as its difference from 1 (Gemma's norms)."""

    def join(self, theirs: Sequence[Tensor]) -> Tensor:
        """See ``Form``."""
        return 1.0 + theirs[0]

    def split(self, ours: Tensor) -> list[Tensor]:
        """See ``Form``."""
        return [ours - 1.0]


class Depthwise(Same):
    """The taps of a convolution (C, K), stored as (C, 1, K)."""

    def join(self, theirs: Sequence[Tensor]) -> Tensor:
        """See ``Form``."""
        return theirs[0].squeeze(1)

    def split(self, ours: Tensor) -> list[Tensor]:
        """See ``Form``."""
        return [ours.unsqueeze(1)]


@dataclass(frozen=True)
class Rows:
    """Concatenated matrices (or vectors) with ``sizes`` rows each."""

    sizes: tuple[int, ...]

    def join(self, theirs: Sequence[Tensor]) -> Tensor:
        """See ``Form``."""
        return torch.cat(list(theirs))

    def split(self, ours: Tensor) -> list[Tensor]:
        """See ``Form``."""
        return list(ours.split(self.sizes))


@dataclass(frozen=True)
class Ordered:
    """The same rows in another order: row i of ours is row ``order[i]`` of theirs."""

    order: tuple[int, ...]

    def join(self, theirs: Sequence[Tensor]) -> Tensor:
        """See ``Form``."""
        return theirs[0][list(self.order)]

    def split(self, ours: Tensor) -> list[Tensor]:
        """See ``Form``."""
        theirs = torch.empty_like(ours)
        theirs[list(self.order)] = ours
        return [theirs]


SAME = Same()


@dataclass(frozen=True)
class Weight:
    """A tensor of ours and the tensors of theirs that it consists of."""

    ours: str
    theirs: tuple[str, ...]
    form: Form = SAME


def weight(ours: str, *theirs: str, form: Form = SAME) -> Weight:
    """``Weight`` with ``.weight`` appended to all names."""
    return Weight(f"{ours}.weight", tuple(f"{name}.weight" for name in theirs), form)


def product(ours: str, *theirs: str, bias: bool, form: Form = SAME) -> list[Weight]:
    """A matrix, and with ``bias`` its bias in the same form."""
    vector = [Weight(f"{ours}.bias", tuple(f"{name}.bias" for name in theirs), form)] if bias else []
    return [weight(ours, *theirs, form=form), *vector]


def attention(
    spec: ModelSpec,
    layer: LayerSpec,
    theirs: str,
    *,
    output: str = "o_proj",
    norms: tuple[str, str] | None = None,
    form: Form = SAME,
) -> list[Weight]:
    """Attention with separate matrices for queries, keys, values (``q_proj`` …) and ``output`` below ``theirs``.

    ``norms``: the names of the norms of queries and keys, which have the ``form``."""
    assert isinstance(layer.mixer, Attention)
    n_heads, n_kv_heads, head_dim = layer.mixer.heads()
    rows = Rows((n_heads * head_dim, n_kv_heads * head_dim, n_kv_heads * head_dim))
    names = [f"{theirs}.{name}_proj" for name in "qkv"]
    weights = product("mixer.qkv", *names, bias=spec.bias or layer.mixer.qkv_bias, form=rows)
    weights += product("mixer.output", f"{theirs}.{output}", bias=spec.bias)
    if norms is not None:
        weights += [
            weight(f"mixer.{ours}_norm", f"{theirs}.{name}", form=form)
            for ours, name in zip(("query", "key"), norms, strict=True)
        ]
    return weights


def by_head(layer: LayerSpec) -> Ordered:
    """The rows of queries, keys and values, which are together per head of keys in theirs (Megatron's order): its
    queries, its key, its value."""
    assert isinstance(layer.mixer, Attention)
    n_heads, n_kv_heads, head_dim = layer.mixer.heads()
    rows = torch.arange((n_heads + 2 * n_kv_heads) * head_dim).view(n_kv_heads, -1, head_dim)
    parts = (rows[:, :-2], rows[:, -2], rows[:, -1])
    return Ordered(tuple(row for part in parts for row in part.flatten().tolist()))


def gated(layer: LayerSpec, theirs: Sequence[str], *, bias: bool = False) -> list[Weight]:
    """A gated feed-forward. ``theirs``: the names of gate, up and down."""
    gate, up, down = theirs
    width = getattr(layer.feed_forward, "d_ff")  # noqa: B009 (the other parts of a family allow only kinds with it)
    both = product("feed_forward.gate_up", gate, up, bias=bias, form=Rows((width, width)))
    return [*both, *product("feed_forward.down", down, bias=bias)]


LLAMA_MLP = ("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")
"""The usual names of gate, up and down."""

LLAMA_NORMS = (
    weight("mixer_norm", "input_layernorm"),
    weight("feed_forward_norm", "post_attention_layernorm"),
)
"""The norms of a block with their usual names."""
