"""What holds for every Hugging Face family, without ``transformers``: there and back gives the same model.

``settings`` of the example are a ``config.json`` of theirs. Without any, the family writes one for a small model.
"""

import tempfile
from pathlib import Path

import torch

from llm_core.contracts.components import BASE
from llm_core.contracts.example import Check, Example
from llm_core.contracts.models import loud_model
from llm_core.errors import PedigreeError
from llm_core.experiment.model import ModelSpec
from llm_core.model.build import build_model
from llm_core.model.hf.config import UnsupportedError
from llm_core.model.hf.exporting import export_folder
from llm_core.model.hf.facts import facts
from llm_core.model.hf.family import Family
from llm_core.model.hf.importing import import_folder


def is_a_family(example: Example) -> None:
    """With the name of its entry."""
    family = example.loaded
    example.hold(isinstance(family, Family), f"is a {type(family).__name__}; make it a llm_core.model.hf.family.Family")
    example.hold(family.name == example.kind, f"its name is {family.name!r}; give it the name of its entry")


def a_specification_comes_back(example: Example) -> None:
    """Written and read: the family can say all of a model that it reads."""
    family, spec = example.loaded, _spec(example)
    example.hold(
        facts(family.read(family.write(spec))) == facts(spec),
        "its config.json describes another model than was written",
    )
    reasons = family.reasons_against(spec)
    example.hold(not reasons, f"can't write what it reads: {'; '.join(reasons)}")


def weights_come_back(example: Example) -> None:
    """Exported and imported, and each tensor has a name."""
    model = loud_model(_spec(example)).eval()
    with tempfile.TemporaryDirectory() as folder:
        try:
            chosen = export_folder(model, Path(folder), sequence_length=64, families=(example.kind,))
            example.hold(chosen.name == example.kind, "can't express a model that it reads")
            found = import_folder(Path(folder))
        except (AssertionError, KeyError, PedigreeError) as error:
            example.hold(False, f"a model can't be exported and imported: {error}; name each tensor in outer and block")
            raise
    back = build_model(found.spec, found.vocab_size, device="meta")
    back.load_state_dict(found.weights, assign=True)
    for name, tensor in model.state_dict().items():
        same = torch.allclose(back.state_dict()[name], tensor, rtol=0, atol=2e-7)
        example.hold(same, f"{name} is another tensor after export and import")


CHECKS: tuple[Check, ...] = (is_a_family, a_specification_comes_back, weights_come_back)


def _spec(example: Example) -> ModelSpec:
    family = example.loaded
    try:
        spec: ModelSpec = family.read(dict(example.settings) or family.write(ModelSpec.model_validate(BASE)))
    except (UnsupportedError, AttributeError, KeyError, TypeError, ValueError) as error:
        example.hold(False, f"does not read a config.json: {error}; give one of theirs in examples")
        raise
    return spec
