"""Faults in the data: a batch is bad whenever it is read."""

import torch

from llm_core.model.decoder import Losses
from llm_core.tokens.loader import Loader, open_loader
from llm_core.train import loop


def plant(monkeypatch, spec, factors: dict[int, float], gradient_factors: dict[int, float] | None = None):
    """Multiply the losses (or only the gradients) of the batches of some steps (from 1)."""
    loader = open_loader(spec.shards, spec.training, spec.seed)
    rows = {step: _rows(loader, step) for step in {*factors, *(gradient_factors or {})}}
    build = loop.build_model

    def of(inputs_BT, table):
        first = tuple(inputs_BT[0].tolist())
        return next((factor for step, factor in table.items() if first in rows[step]), 1.0)

    def planted(*arguments, **options):
        model = build(*arguments, **options)
        seen = [1.0]

        def after_forward(module, inputs, losses):
            if not module.training:
                return losses
            seen[0] = of(inputs[0], gradient_factors or {})
            factor = of(inputs[0], factors)
            return Losses(*(loss * factor for loss in losses))

        model.register_forward_hook(after_forward)
        next(model.parameters()).register_hook(lambda gradient: gradient * seen[0])
        return model

    monkeypatch.setattr(loop, "build_model", planted)


def _rows(loader: Loader, step: int) -> set[tuple[int, ...]]:
    return {tuple(row.tolist()) for row in torch.from_numpy(loader.batch(step - 1).inputs_BT)}
