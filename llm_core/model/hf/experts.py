"""Mixtures of experts with the names of other projects."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from llm_core.experiment.layers import LayerSpec
from llm_core.experiment.model import ModelSpec
from llm_core.model.feed_forwards.gated.spec import SwiGLU
from llm_core.model.feed_forwards.moe.spec import MixtureOfExperts
from llm_core.model.hf.config import Config, Derived, Fields, Implied, Part, said
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


@dataclass(frozen=True)
class ExpertLayers(Part):
    """Some layers have a mixture of experts, which ``parts`` read and write, and the others a dense feed-forward.

    ``dense``: whether a layer is dense. ``listed``: the keys that say so, for the numbers of the dense layers.
    """

    parts: tuple[Part, ...]
    dense: Callable[[Config, int], bool]
    listed: Callable[[list[int]], Config]

    def read(self, config: Config, fields: Fields) -> None:
        """See ``Part``."""
        routing = [layer for index, layer in enumerate(fields.layers) if not self.dense(config, index)]
        experts = Fields({}, [])
        if routing:
            for part in self.parts:
                part.read(config, experts)
        for layer in routing:
            layer["feed_forward"] = {"kind": "moe", **experts.model["feed_forward"]}

    def write(self, spec: ModelSpec, config: Config) -> None:
        """See ``Part``."""
        config |= self.listed([layer.index for layer in spec.layers if not routes(layer)])
        first = next((layer for layer in spec.layers if routes(layer)), None)
        if first is not None:  # without experts, transformers does not accept null for their number
            # As if all layers were like it, since dense layers have settings of the same names.
            alike = {"mixer": first.mixer, "feed_forward": first.feed_forward, "pattern": ()}
            for part in self.parts:
                part.write(spec.model_copy(update=alike), config)


def routes(layer: LayerSpec) -> bool:
    """Whether a layer has a mixture of experts."""
    return isinstance(layer.feed_forward, MixtureOfExperts)


def dense_width(spec: ModelSpec) -> int:
    """The width of the dense layers; any number if all layers have experts, since the key is required."""
    dense = (layer.feed_forward for layer in spec.layers if not routes(layer))
    return int(next((feed.d_ff for feed in dense if isinstance(feed, SwiGLU)), said(spec, "feed_forward.d_ff")))


DENSE_WIDTH = Derived("intermediate_size", "feed_forward.d_ff", lambda width, _: width, dense_width)

PLAIN_EXPERTS = (
    Implied("feed_forward.shared", 0),
    Implied("feed_forward.score", "softmax"),
    Implied("feed_forward.scale", 1.0),
)
"""Experts whose scores are a softmax, without shared ones."""
