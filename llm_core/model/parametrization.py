"""A trained model without its parametrisation: the same function, with the multipliers inside the weights."""

import torch
from torch import nn

from llm_core.errors import PedigreeError
from llm_core.experiment.model import ModelSpec
from llm_core.model.decoder import Decoder


def folded_spec(spec: ModelSpec) -> ModelSpec:
    """The specification of ``folded(model)``."""
    return spec.model_copy(update={"parametrization": None})


@torch.no_grad()
def folded(model: Decoder) -> Decoder:
    """Multiply the parametrisation's multipliers of branches and logits into the weights, in place, and return
    ``model``.

    ``PedigreeError`` when a tied head and a norm without gain leave no weight that only the logits see.
    """
    spec = model.spec
    if spec.parametrization is None:
        return model
    if model.head is not None:
        model.head.weight.mul_(1 / spec.width_ratio())
    elif spec.norm.parameters(spec.d_model, spec.bias):
        for parameter in model.norm.parameters():
            parameter.mul_(1 / spec.width_ratio())
    else:
        raise PedigreeError(
            "the multiplier of the logits fits into no weight: the head is tied, and the norm has no gain"
        )
    for block in model.all_blocks:
        for part, norm in ((block.mixer, block.mixer_post_norm), (block.feed_forward, block.feed_forward_post_norm)):
            if part is not None:
                _scale_branch(part, None if block.post else norm, 1 / spec.depth_ratio())
        block.branch_scale = spec.residual_scale
    model.head_scale, model.spec = spec.logit_scale, folded_spec(spec)
    return model


def _scale_branch(part: nn.Module, norm: nn.Module | None, scale: float) -> None:
    if norm is not None:
        gains = list(norm.parameters())
        if not gains:
            raise PedigreeError("the multiplier of the branches fits into no weight: the norm after them has no gain")
        for parameter in gains:
            parameter.mul_(scale)
        return
    names = dict(part.named_parameters())
    for writer in part.residual_writers:  # type: ignore[union-attr]
        names[writer].mul_(scale)
        bias = f"{writer.removesuffix('weight')}bias"
        if writer.endswith("weight") and bias in names:
            names[bias].mul_(scale)
