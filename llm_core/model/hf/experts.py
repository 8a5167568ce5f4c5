"""Mixtures of experts with the names of other projects."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from llm_core.experiment.layers import LayerSpec
from llm_core.model.feed_forwards.moe.spec import MixtureOfExperts
from llm_core.model.hf.weights import Rows, Weight, product, weight


@dataclass(frozen=True)
class Stacked:
    """The matrices of all experts in one tensor (X, in, out). Theirs are one matrix (out, in) per expert.

    ``sizes``: the numbers of outputs of the matrices of one expert, which ours concatenates.
    """

    sizes: tuple[int, ...]

    def join(self, theirs: Sequence[Tensor]) -> Tensor:
        """See ``Form``."""
        step = len(self.sizes)
        return torch.stack([torch.cat(list(theirs[at : at + step])).mT for at in range(0, len(theirs), step)])

    def split(self, ours: Tensor) -> list[Tensor]:
        """See ``Form``."""
        return [matrix for expert in ours for matrix in expert.mT.split(self.sizes)]


def experts(moe: MixtureOfExperts, d_model: int, theirs: str, names: Sequence[str]) -> list[Weight]:
    """The routed experts, numbered below ``theirs``. ``names``: gate, up and down of an expert."""
    gate, up, down = names
    first = [f"{theirs}.{expert}.{name}.weight" for expert in range(moe.experts) for name in (gate, up)]
    second = [f"{theirs}.{expert}.{down}.weight" for expert in range(moe.experts)]
    return [
        Weight("feed_forward.gate_up", tuple(first), Stacked((moe.d_ff, moe.d_ff))),
        Weight("feed_forward.down", tuple(second), Stacked((d_model,))),
    ]


def shared_experts(moe: MixtureOfExperts, theirs: str, names: Sequence[str]) -> list[Weight]:
    """The shared experts, which every token uses, as one wide expert."""
    gate, up, down = (f"{theirs}.{name}" for name in names)
    width = moe.shared * moe.d_ff
    return [
        *product("feed_forward.shared.gate_up", gate, up, bias=False, form=Rows((width, width))),
        weight("feed_forward.shared.down", down),
    ]


def mixture_of(layer: LayerSpec) -> MixtureOfExperts:
    """The mixture of experts of a layer."""
    assert isinstance(layer.feed_forward, MixtureOfExperts)
    return layer.feed_forward
