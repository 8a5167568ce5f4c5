"""Specification → model."""

import torch

from llm_core.experiment.model import ModelSpec
from llm_core.model.decoder import Decoder
from llm_core.model.init import initialise


def build_model(
    spec: ModelSpec,
    vocab_size: int,
    *,
    device: torch.device | str | None = None,
    generator: torch.Generator | None = None,
) -> Decoder:
    """The model of ``spec`` with fresh fp32 weights on ``device`` (default: torch's default device).

    Draws come from ``generator``, or else from torch's global generator. On the meta device nothing is allocated or
    drawn: after ``to_empty``, call ``llm_core.model.init.initialise``.
    """
    target = torch.get_default_device() if device is None else torch.device(device)
    # Modules draw weights of their own when they are made; on meta that costs neither time nor random numbers.
    with torch.device("meta"):
        model = Decoder(spec, vocab_size).float()
    if target.type != "meta":
        model.to_empty(device=target)
        initialise(model, spec, generator)
    return model
