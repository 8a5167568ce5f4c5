"""Writes the final weights of a run, and the summary ``summary.json``."""

import json

from torch import Tensor

from llm_core.errors import PedigreeError
from llm_core.model.build import build_model
from llm_core.model.files import INFO, save_model
from llm_core.reasons import explained
from llm_core.tokens.batch_sizes import tokens_before
from llm_core.train.distribution import World
from llm_core.train.spec import CHECKPOINTS, FINAL, SUMMARY, TrainerSpec
from llm_core.train.state import all_finite


def write_final(spec: TrainerSpec, world: World, weights: dict[str, Tensor], peak_bytes: float) -> None:
    """Write ``final/`` (see ``save_model``) and ``summary.json`` into the work folder.

    Raises ``PedigreeError`` for weights that are not finite, and when they can't be written.
    """
    if broken := next((name for name, tensor in weights.items() if not all_finite(tensor)), None):
        raise PedigreeError(
            f"{spec.work / FINAL}: not written, since {broken} has numbers that are not finite: remove the newest "
            f"folder in {spec.work / CHECKPOINTS}, and run again: training resumes from the checkpoint before it"
        )
    model = build_model(spec.model, spec.vocab_size, device="meta")
    model.load_state_dict(weights, assign=True)
    steps = spec.training.steps
    summary = {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "ranks": world.size,
        "device": world.device_type.name(world.device),
        "peak_memory_bytes": int(peak_bytes),
    }
    folder = spec.work / FINAL
    try:
        (folder / INFO).unlink(missing_ok=True)  # save_model writes it last: a folder without it is no model
        tokens = tokens_before(spec.training, steps)
        save_model(model, spec.model, spec.vocab_size, folder, step=steps, tokens=tokens)
        (spec.work / SUMMARY).write_text(json.dumps(summary), encoding="utf-8")
    except OSError as error:
        raise PedigreeError(
            f"{folder}: the final weights can't be written: {explained(error)}. Then run again: training resumes "
            "from the last checkpoint"
        ) from None
