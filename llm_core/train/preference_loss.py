"""The loss of pairs of answers: direct preference optimisation (DPO: Rafailov et al., 2023).

Dimensions: B rows, T tokens of a row, P pairs of a row (the most of any row). A row has its pairs side by side:
documents 2k and 2k + 1 are the chosen and the rejected answer of pair k.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from llm_core.experiment.training import DPOSpec
from llm_core.model.decoder import Losses


class PairLosses(NamedTuple):
    """``loss_BP`` and ``margin_BP`` are 0 where a row has no further pair. ``weights_BT``: the derivative of the sum of
    all losses by the nats of each target."""

    loss_BP: Tensor  # noqa: N815
    margin_BP: Tensor  # noqa: N815
    """The reward of the chosen answer minus that of the rejected one. A reward is β times the logarithm of how much
    likelier the answer became."""
    weights_BT: Tensor  # noqa: N815


def pair_losses(nats_BT: Tensor, document_ids_BT: Tensor, reference_BD: Tensor, dpo: DPOSpec) -> PairLosses:
    """The losses of all pairs. ``nats_BT``: of each target, 0 elsewhere. ``reference_BD``: nats of each answer before
    the tuning, (B, 2P).

    With m the margin and ε the label smoothing, the loss of a pair is −(1 − ε) log σ(m) − ε log σ(−m).
    """
    # A sum over a mask, since index_add on CUDA adds in any order.
    is_of_BTD = document_ids_BT[:, :, None] == torch.arange(reference_BD.shape[1], device=nats_BT.device)
    nats_BD = torch.where(is_of_BTD, nats_BT[:, :, None], 0).sum(dim=1, dtype=reference_BD.dtype)
    gain_BP2 = (reference_BD - nats_BD).unflatten(1, (-1, 2))
    there_BP = is_of_BTD[:, :, ::2].any(dim=1)
    margin_BP = dpo.beta * (gain_BP2[..., 0] - gain_BP2[..., 1])
    epsilon = dpo.label_smoothing
    loss_BP = -(1 - epsilon) * functional.logsigmoid(margin_BP) - epsilon * functional.logsigmoid(-margin_BP)
    slope_BP = dpo.beta * ((1 - epsilon) * torch.sigmoid(-margin_BP) - epsilon * torch.sigmoid(margin_BP))
    slope_BD = torch.stack((slope_BP, -slope_BP), dim=2).flatten(1)
    weights_BT = torch.where(is_of_BTD, slope_BD[:, None], 0).sum(dim=2).to(nats_BT.dtype)
    return PairLosses(torch.where(there_BP, loss_BP, 0), torch.where(there_BP, margin_BP, 0), weights_BT)


def preference_losses(model: nn.Module, batch_BT: tuple[Tensor, ...], reference_BD: Tensor, dpo: DPOSpec) -> Losses:
    """The sum of the losses of all pairs in the rows of ``batch_BT`` (inputs, targets, document ids)."""
    ids_BT = batch_BT[2]

    def weigh(nats_BT: Tensor) -> Tensor:
        return pair_losses(nats_BT, ids_BT, reference_BD, dpo).weights_BT

    losses = model(*batch_BT, weigh=weigh)
    return Losses(losses.objective, pair_losses(losses.cross_entropy, ids_BT, reference_BD, dpo).loss_BP.sum())
