"""What other programs make of every preset and family: how far apart the logits are, and whether token ids are equal.

    python -m benchmarks.exports [--width 256] [--only presets|families]

Prints Markdown tables. transformers must be installed; llama.cpp (llama-cpp-python) and onnxruntime are asked where
they are. Presets that are wider than ``--width`` are narrowed to it, as a study does, with their kinds of layers.
Weights are random and large, so that every part shows in the logits; ours are fp32.
"""

import argparse
import tempfile
from pathlib import Path
from typing import get_args

import torch

from llm_core.errors import PedigreeError
from llm_core.experiment.exports import GGUFType
from llm_core.experiment.initialisation import InitialisationSpec
from llm_core.experiment.model import ModelSpec
from llm_core.experiment.model_presets import MODELS
from llm_core.experiment.narrowing import narrowed
from llm_core.model.clients.results import Parity
from llm_core.model.decoder import Decoder
from llm_core.model.gguf.checked import write_checked as write_gguf
from llm_core.model.hf.exporting import export_folder
from llm_core.model.hf.own_code.family import OWN_CODE
from llm_core.model.onnx.checked import write_checked as write_onnx
from tests.model import shapes
from tests.model.gguf import cases
from tests.model.hf.parity import difference, logits_of_ours, logits_of_theirs, same_greedy, their_loaded

LENGTH = 40
TYPES = get_args(GGUFType)
NOTHING = "–"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=256, help="of the widest model")
    parser.add_argument("--only", choices=("presets", "families"), help="one of the two tables")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.only != "families":
        presets(arguments.width)
    if arguments.only != "presets":
        families()


def presets(width: int) -> None:
    """The table preset × client."""
    clients = ("transformers", "greedy tokens", *(f"llama.cpp, {kind}" for kind in TYPES), "token ids", "onnxruntime")
    heading("preset", "layers × width", "std of logits", "transformers loads it as", *clients)
    for name in MODELS:
        spec = ModelSpec.model_validate({"preset": name})
        spec = narrowed(spec, width) if spec.d_model > width else spec
        # One document per row, and no initialisation that would leave a part silent.
        spec = spec.model_copy(update={"document_mask": False, "init": InitialisationSpec()})
        model = cases.model(spec)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim > 1:  # sums over more channels stay as large as in the small models of the tests
                    parameter.mul_((shapes.BASE["d_model"] / spec.d_model) ** 0.5)
        with tempfile.TemporaryDirectory() as folder:
            size, spread, *theirs = in_transformers(model, Path(folder) / "hub")
            print(
                line(
                    f"`{name}`", size, spread, *theirs, *in_llama_cpp(model, Path(folder)), in_onnx(model, Path(folder))
                )
            )


def families() -> None:
    """The table family × llama.cpp."""
    heading("model", "llama.cpp's architecture", *TYPES, "token ids", "same likeliest token, q8_0")
    for name, spec in cases.specs().items():
        with tempfile.TemporaryDirectory() as folder:
            found = asked(cases.model(spec), Path(folder))
            if isinstance(found, str):
                print(line(name, found, *[NOTHING] * (len(TYPES) + 2)), flush=True)
                continue
            architecture, answers = found
            likeliest = answers[TYPES[-1]].same_likeliest
            share = NOTHING if likeliest is None else f"{likeliest:.1%}"
            print(line(name, f"`{architecture}`", *map(told, answers.values()), ids(answers), share), flush=True)


def in_transformers(model: Decoder, folder: Path) -> tuple[str, ...]:
    """Size, spread, and the cells of transformers."""
    tokens_BT, spec = shapes.tokens(3, LENGTH), model.spec
    family = export_folder(model, folder, sequence_length=64)
    theirs = their_loaded(folder)
    logits_BTV = logits_of_ours(model, tokens_BT)
    apart = difference(logits_BTV, logits_of_theirs(theirs, tokens_BT))
    loaded = "`pedigree`, by its own code" if family is OWN_CODE else f"`{family.name}`"
    greedy = "equal" if same_greedy(model, theirs, tokens_BT[:, :9]) else "DIFFERENT"
    return f"{spec.n_layers} × {spec.d_model}", f"{logits_BTV.std():.1f}", loaded, f"{apart:.1e}", greedy


def in_llama_cpp(model: Decoder, folder: Path) -> tuple[str, ...]:
    """The cells of llama.cpp."""
    found = asked(model, folder)
    if isinstance(found, str):
        return (found, *[NOTHING] * len(TYPES))
    return (*map(told, found[1].values()), ids(found[1]))


def asked(model: Decoder, folder: Path) -> tuple[str, dict[GGUFType, Parity]] | str:
    """llama.cpp's name of the architecture, and its answers; or why it can't have the model."""
    tokenizer, answers, architecture = cases.tokenizer(folder), {}, ""
    for dtype in TYPES:
        path = folder / f"model-{dtype}.gguf"
        try:
            architecture, file = write_gguf(model, path, sequence_length=64, dtype=dtype, tokenizer=tokenizer)
        except PedigreeError as error:
            return str(error).partition(": ")[2]
        answers[dtype] = file.rounded or file.exact
    return architecture, answers


def in_onnx(model: Decoder, folder: Path) -> str:
    """The cell of onnxruntime."""
    made = write_onnx(model, folder / "onnx", sequence_length=64, tokenizer=cases.tokenizer(folder))
    return made.refused or "" if made.parity is None else told(made.parity)


def told(parity: Parity) -> str:
    """The difference, or why there is none."""
    if parity.largest_difference is None:
        return parity.problem or f"not checked: {parity.not_checked}"
    return f"{parity.largest_difference:.1e}"


def ids(answers: dict[GGUFType, Parity]) -> str:
    """Whether all texts have the ids of ours."""
    different = [text for parity in answers.values() for text in parity.different_ids or ()]
    if any(parity.different_ids is None for parity in answers.values()):
        return NOTHING
    return "equal" if not different else f"DIFFERENT: {different[0]!r}"


def heading(*columns: str) -> None:
    print(line(*columns))
    print(line(*["---"] * len(columns)), flush=True)


def line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
