"""What ``transformers`` makes of every preset: how it loads the export, and how far apart the logits are.

    python -m benchmarks.exports [--width 256]

Prints a Markdown table. Presets that are wider than ``--width`` are narrowed to it, as a study does, with their kinds
of layers. Weights are random and large, so that every part shows in the logits; everything is fp32.
"""

import argparse
import tempfile
from pathlib import Path

import torch

from llm_core.experiment.initialisation import InitialisationSpec
from llm_core.experiment.model import ModelSpec
from llm_core.experiment.model_presets import MODELS
from llm_core.experiment.narrowing import narrowed
from llm_core.model.hf.exporting import export_folder
from llm_core.model.hf.own_code.family import OWN_CODE
from tests.model import shapes
from tests.model.hf.parity import difference, logits_of_ours, logits_of_theirs, same_greedy, their_loaded

LENGTH = 40


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=256, help="of the widest model")
    width = parser.parse_args().width
    torch.set_num_threads(1)
    print("| preset | layers × width | transformers loads it as | largest difference | std of logits | greedy tokens |")
    print("|---|---|---|---:|---:|---|")
    for name in MODELS:
        print(row(name, width), flush=True)


def row(name: str, width: int) -> str:
    """The row of one preset."""
    spec = ModelSpec.model_validate({"preset": name})
    spec = narrowed(spec, width) if spec.d_model > width else spec
    # One document per row, and no initialisation that would leave a part silent.
    spec = spec.model_copy(update={"document_mask": False, "init": InitialisationSpec()})
    model, tokens_BT = shapes.model(spec).eval(), shapes.tokens(3, LENGTH)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:  # sums over more channels stay as large as in the small models of the tests
                parameter.mul_((shapes.BASE["d_model"] / spec.d_model) ** 0.5)
    with tempfile.TemporaryDirectory() as folder:
        family = export_folder(model, Path(folder), sequence_length=64)
        theirs = their_loaded(Path(folder))
    logits_BTV = logits_of_ours(model, tokens_BT)
    apart = difference(logits_BTV, logits_of_theirs(theirs, tokens_BT))
    loaded = "`pedigree`, by its own code" if family is OWN_CODE else f"`{family.name}`"
    greedy = "equal" if same_greedy(model, theirs, tokens_BT[:, :9]) else "DIFFERENT"
    return (
        f"| `{name}` | {spec.n_layers} × {spec.d_model} | {loaded} | {apart:.1e} | {logits_BTV.std():.1f} | {greedy} |"
    )


if __name__ == "__main__":
    main()
