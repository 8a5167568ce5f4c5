"""One layer of the decoder: a mixer and a feed-forward, each a branch of the residual stream."""

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from llm_core.experiment.layers import LayerSpec, StreamScalesSpec
from llm_core.experiment.model import ModelSpec
from llm_core.model.context import Context
from llm_core.model.init import Draw

KeyValue = tuple[Tensor, Tensor]


class StreamScales(nn.Module):
    """a · x + b · x0: the residual stream before a block, mixed with the embedding (Karpathy, 2025-2026, nanochat).

    ``share``: the layer's place in the depth, 0 for the first and 1 for the last.
    """

    parameter_kinds: ClassVar[Mapping[str, str]] = {"residual": "residual_scales", "input": "input_scales"}

    def __init__(self, spec: StreamScalesSpec, share: float) -> None:
        super().__init__()
        self.residual, self.input = nn.Parameter(torch.empty(1)), nn.Parameter(torch.empty(1))
        self.draws = {"residual": _between(spec.residual, share), "input": _between(spec.input, share)}

    def forward(self, x_BTD: Tensor, embedding_BTD: Tensor) -> Tensor:
        """(B, T, D) → (B, T, D)."""
        return self.residual * x_BTD + self.input * embedding_BTD


def _between(ends: tuple[float, float], share: float) -> Draw:
    def draw(parameter: Tensor, _: Generator | None) -> None:
        parameter.fill_(ends[0] + share * (ends[1] - ends[0]))

    return draw


class Block(nn.Module):
    """x + mixer(norm(x)), then x + feed_forward(norm(x)). ``ModelSpec`` explains the other placements of the norms, and
    branches in parallel."""

    def __init__(self, spec: ModelSpec, layer: LayerSpec) -> None:
        super().__init__()
        before, after = layer.norm_placement in ("pre", "sandwich"), layer.norm_placement != "pre"
        self.post = layer.norm_placement == "post"
        self.dropout = layer.dropout
        self.parallel = layer.parallel
        self.branch_scale = spec.residual_scale / spec.depth_ratio()

        scales, share = layer.stream_scales, layer.index / max(spec.n_layers - 1, 1)
        self.stream_scales = None if scales is None else StreamScales(scales, share)

        def make() -> nn.Module:
            made: nn.Module = layer.norm.module(spec.d_model, spec.bias)
            return made

        self.mixer_norm = make() if before else None
        self.mixer = layer.mixer.module(spec, layer)
        self.mixer_post_norm = make() if after else None
        feeds = layer.feed_forward is not None
        self.feed_forward_norm = make() if before and feeds else None
        self.feed_forward = layer.feed_forward.module(spec, layer) if layer.feed_forward else None
        self.feed_forward_post_norm = make() if after and feeds else None
        self.looks_back = layer.feed_forward is not None and layer.feed_forward.looks_back

    def forward(
        self, x_BTD: Tensor, kv: KeyValue | None, context: Context, *values_BTE: Tensor
    ) -> tuple[Tensor, KeyValue | None]:
        """(B, T, D) → (B, T, D), and the mixer's keys and values for later layers. ``kv``: the keys and values of the
        earlier layer ``kv_from``. ``values_BTE``: the value embeddings of the tokens, if the mixer has them."""
        if self.stream_scales is not None:
            x_BTD = self.stream_scales(x_BTD, context.embedding_BTD)
        before_BTD = x_BTD
        branch_BTD = x_BTD if self.mixer_norm is None else self.mixer_norm(x_BTD)
        branch_BTD, kv = self.mixer(branch_BTD, kv, context, *values_BTE)
        x_BTD = self._joined(x_BTD, branch_BTD, self.mixer_post_norm)
        if self.feed_forward is None:
            return x_BTD, kv
        branch_BTD = before_BTD if self.parallel else x_BTD
        branch_BTD = branch_BTD if self.feed_forward_norm is None else self.feed_forward_norm(branch_BTD)
        branch_BTD = self.feed_forward(branch_BTD, context) if self.looks_back else self.feed_forward(branch_BTD)
        return self._joined(x_BTD, branch_BTD, self.feed_forward_post_norm), kv

    def _joined(self, x_BTD: Tensor, branch_BTD: Tensor, norm: nn.Module | None) -> Tensor:
        if self.dropout:
            branch_BTD = functional.dropout(branch_BTD, self.dropout, self.training)
        if norm is not None and not self.post:
            branch_BTD = norm(branch_BTD)
        if self.branch_scale != 1:
            branch_BTD = branch_BTD * self.branch_scale
        x_BTD = x_BTD + branch_BTD
        return norm(x_BTD) if norm is not None and self.post else x_BTD
