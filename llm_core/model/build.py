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
    """The model of ``spec`` with new fp32 weights on ``device`` (default: torch's default device).

    Random numbers come from ``generator``, by default torch's global one. On the meta device nothing is allocated or
    drawn; after ``to_empty``, call ``llm_core.model.init.initialise``.
    """
    target = torch.get_default_device() if device is None else torch.device(device)
    # torch's modules initialise themselves when they are constructed. On meta that takes no time and no random numbers.
    with torch.device("meta"):
        model = Decoder(spec, vocab_size).float()
    if target.type != "meta":
        model.to_empty(device=target)
        initialise(model, spec, generator)
    return model
