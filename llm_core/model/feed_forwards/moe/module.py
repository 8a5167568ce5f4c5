"""Mixture of experts: many feed-forwards, of which every token uses a few.

Dimensions: N tokens of a micro-batch, X experts, k experts of a token, A = N · k assignments of tokens to experts, R
rows of the tensor of assignments, F hidden width of an expert.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from llm_core.experiment.layers import LayerSpec
from llm_core.experiment.model import ModelSpec
from llm_core.model.feed_forwards.gated.module import SwiGLU
from llm_core.model.feed_forwards.gated.spec import SwiGLU as SwiGLUSpec
from llm_core.model.feed_forwards.moe.grouped import grouped_product, has_kernel, laid_out
from llm_core.model.feed_forwards.moe.spec import MixtureOfExperts as MixtureOfExpertsSpec
from llm_core.model.fused import Fused


class Routing(NamedTuple):
    """The routing statistics of a forward pass in training, which the decoder collects."""

    balance: Tensor
    """The load-balancing loss, as a sum over tokens; fp32 scalar."""
    counts_X: Tensor  # noqa: N815
    """Assignments of each expert; int64."""


class MixtureOfExperts(nn.Module, Fused):
    """Σ weight · expert(x) over the ``top_k`` experts that a router chooses for each token, plus shared experts.

    No expert has a capacity and no token is dropped: tokens are sorted by expert, and each product with all experts'
    matrices is one grouped product (Gale et al., 2022). Experts are SwiGLUs without biases (Shazeer, 2020), stored as
    (X, in, out). The router is fp32: its scores are a softmax over the experts (Mixtral: Jiang et al., 2024; OLMoE:
    Muennighoff et al., 2024), or a sigmoid of each (DeepSeek-V3: DeepSeek-AI, 2024).

    Two ways to keep the experts equally busy:

    - ``balance_loss``: X · Σ over experts of (share of the assignments) · (mean probability), which is 1 at best, times
      tokens and weight, is added to the objective (Fedus et al., 2021). The shares are those of a micro-batch on one
      rank, so this loss, as the only one, depends on how a batch is split into micro-batches.
    - ``bias_rate``: each expert has a bias, which is added to its score only for the choice of experts. After every
      step, it changes by this amount against the expert's load (Wang et al., 2024). Loads are those of the whole batch.
    """

    selection_bias: Tensor
    one_kernel: bool = True
    """Whether a GPU multiplies the rows of all experts in one kernel, or one expert at a time."""
    wide = ("router.weight",)
    """Matrices that are fp32 in every precision."""

    residual_writers = ("down",)  # of all experts

    def __init__(self, moe: MixtureOfExpertsSpec, model: ModelSpec, layer: LayerSpec) -> None:
        super().__init__()
        self.moe, d_model = moe, model.d_model
        self.router = nn.Linear(d_model, moe.experts, bias=False)
        self.gate_up = nn.Parameter(torch.empty(moe.experts, d_model, 2 * moe.d_ff))
        self.fused = {"gate_up": (moe.d_ff, moe.d_ff)}
        self.down = nn.Parameter(torch.empty(moe.experts, moe.d_ff, d_model))
        self.shared = SwiGLU(SwiGLUSpec(d_ff=moe.shared * moe.d_ff), model, layer) if moe.shared else None
        if moe.bias_rate:
            self.register_buffer("selection_bias", torch.zeros(moe.experts))
        self.routing: Routing | None = None
        self.counts_X: Tensor | None = None

    def forward(self, x_BTD: Tensor) -> Tensor:
        """(B, T, D) → (B, T, D)."""
        x_ND = x_BTD.flatten(0, 1)
        scores_NX = self._scores(x_ND)
        experts_Nk, weights_Nk = self._choose(scores_NX)
        y_ND = self._experts(x_ND, experts_Nk, weights_Nk)
        if self.training:
            # Activation checkpointing repeats this pass in the backward pass, and both must be the same. The statistics
            # are kept only once: those that nobody collects would keep all tensors of the pass in memory.
            routing = self._routing(scores_NX, experts_Nk)
            if not _in_backward():
                self.routing = routing
        y_BTD = y_ND.view(x_BTD.shape)
        return y_BTD if self.shared is None else y_BTD + self.shared(x_BTD)

    def collect(self) -> Tensor:
        """The balancing loss of the last forward pass. Adds its counts to those of the step."""
        assert self.routing is not None
        balance, counts_X = self.routing
        self.routing = None
        self.counts_X = counts_X if self.counts_X is None else self.counts_X + counts_X
        return balance

    def take_counts(self) -> Tensor:
        """(X,) int64: the assignments on this rank since the last call."""
        assert self.counts_X is not None
        counts_X, self.counts_X = self.counts_X, None
        return counts_X

    @torch.no_grad()
    def move_bias(self, counts_X: Tensor, skipped: Tensor) -> None:
        """Update the selection biases after an optimiser step with these assignments over all ranks, unless ``skipped``
        (0-d) is not 0."""
        if not self.moe.bias_rate:
            return
        counts_X = counts_X.float()
        move_X = self.moe.bias_rate * (counts_X.mean() - counts_X).sign()
        self.selection_bias += torch.where(skipped != 0, 0, move_X)

    def _scores(self, x_ND: Tensor) -> Tensor:
        with torch.autocast(x_ND.device.type, enabled=False):
            logits_NX = functional.linear(_widened(x_ND), _widened(self.router.weight))
        return logits_NX.softmax(dim=-1) if self.moe.score == "softmax" else logits_NX.sigmoid()

    def _choose(self, scores_NX: Tensor) -> tuple[Tensor, Tensor]:
        """The experts of each token and their weights, (N, k) each."""
        ranked_NX = scores_NX.detach()
        if self.moe.bias_rate:
            ranked_NX = ranked_NX + self.selection_bias
        experts_Nk = ranked_NX.topk(self.moe.top_k, dim=-1).indices
        weights_Nk = scores_NX.gather(1, experts_Nk)
        if self.moe.normalise:
            weights_Nk = weights_Nk / weights_Nk.sum(-1, keepdim=True).clamp(min=1e-20)
        return experts_Nk, weights_Nk * self.moe.scale

    def _experts(self, x_ND: Tensor, experts_Nk: Tensor, weights_Nk: Tensor) -> Tensor:
        device = x_ND.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x_ND.dtype
        chosen_A = experts_Nk.flatten()
        order_A = chosen_A.argsort(stable=True)
        kernel = self.one_kernel and has_kernel(x_ND.device, dtype)
        layout = laid_out(chosen_A[order_A], self._counts(experts_Nk), aligned=kernel)
        x_RD = x_ND.to(dtype)[order_A // self.moe.top_k]
        if kernel:
            x_RD = x_RD.new_zeros(layout.rows, x_RD.shape[1]).index_copy(0, layout.places_A, x_RD)
        gate_RF, up_RF = grouped_product(x_RD, self.gate_up.to(dtype), layout.ends_X, kernel).chunk(2, dim=-1)
        y_RD = grouped_product(functional.silu(gate_RF) * up_RF, self.down.to(dtype), layout.ends_X, kernel)
        # Back to the order of tokens, so that the sum over a token's experts has a fixed order.
        places_A = torch.empty_like(order_A)
        places_A[order_A] = layout.places_A
        y_NkD = y_RD[places_A].view(*experts_Nk.shape, -1)
        return (y_NkD * weights_Nk[..., None]).sum(1).to(dtype)

    def _counts(self, experts_Nk: Tensor) -> Tensor:
        chosen_A = experts_Nk.flatten()
        counts_X = torch.zeros(self.moe.experts, dtype=torch.int64, device=chosen_A.device)
        return counts_X.scatter_add(0, chosen_A, torch.ones_like(chosen_A))

    def _routing(self, scores_NX: Tensor, experts_Nk: Tensor) -> Routing:
        counts_X = self._counts(experts_Nk)
        shares_X = counts_X / experts_Nk.numel()
        probabilities_NX = scores_NX / scores_NX.sum(-1, keepdim=True)
        balance = self.moe.experts * (shares_X * probabilities_NX.mean(0)).sum()
        return Routing(self.moe.balance_loss * len(scores_NX) * balance, counts_X)


def _in_backward() -> bool:
    """Whether autograd runs, so this pass is a recomputation. (A setting of the compiler excludes such side
    effects.)"""
    return not torch.compiler.is_compiling() and torch._C._current_graph_task_id() != -1


def _widened(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))
