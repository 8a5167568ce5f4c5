"""One layer of the decoder: a mixer and a feed-forward, each a branch of the residual stream."""

from torch import Tensor, nn
from torch.nn import functional

from llm_core.experiment.layers import LayerSpec
from llm_core.experiment.model import ModelSpec
from llm_core.model.context import Context

KeyValue = tuple[Tensor, Tensor]


class Block(nn.Module):
    """x + mixer(norm(x)), then x + feed_forward(norm(x)). ``ModelSpec`` explains the other placements of the norms."""

    def __init__(self, spec: ModelSpec, layer: LayerSpec) -> None:
        super().__init__()
        before, after = layer.norm_placement in ("pre", "sandwich"), layer.norm_placement != "pre"
        self.post = layer.norm_placement == "post"
        self.dropout = layer.dropout

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

    def forward(self, x_BTD: Tensor, kv: KeyValue | None, context: Context) -> tuple[Tensor, KeyValue | None]:
        """(B, T, D) → (B, T, D), and the mixer's keys and values for later layers. ``kv``: the keys and values of the
        earlier layer ``kv_from``."""
        branch_BTD = x_BTD if self.mixer_norm is None else self.mixer_norm(x_BTD)
        branch_BTD, kv = self.mixer(branch_BTD, kv, context)
        x_BTD = self._joined(x_BTD, branch_BTD, self.mixer_post_norm)
        if self.feed_forward is None:
            return x_BTD, kv
        branch_BTD = x_BTD if self.feed_forward_norm is None else self.feed_forward_norm(x_BTD)
        branch_BTD = self.feed_forward(branch_BTD, context) if self.looks_back else self.feed_forward(branch_BTD)
        return self._joined(x_BTD, branch_BTD, self.feed_forward_post_norm), kv

    def _joined(self, x_BTD: Tensor, branch_BTD: Tensor, norm: nn.Module | None) -> Tensor:
        if self.dropout:
            branch_BTD = functional.dropout(branch_BTD, self.dropout, self.training)
        if norm is None:
            return x_BTD + branch_BTD
        if self.post:
            joined: Tensor = norm(x_BTD + branch_BTD)
            return joined
        return x_BTD + norm(branch_BTD)
