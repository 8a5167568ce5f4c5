"""All families, in the order in which an export tries them: the plainest that fits is the one most programs know."""

from llm_core.errors import PedigreeError
from llm_core.experiment.model import ModelSpec
from llm_core.model.hf.deepseek import DEEPSEEK_V2, DEEPSEEK_V3
from llm_core.model.hf.family import Family, told
from llm_core.model.hf.gemma2 import GEMMA2
from llm_core.model.hf.gpt2 import GPT2
from llm_core.model.hf.lfm2 import LFM2
from llm_core.model.hf.llama import LLAMA, MISTRAL, QWEN3, SMOLLM3
from llm_core.model.hf.mamba2 import MAMBA2
from llm_core.model.hf.mixtral import MIXTRAL
from llm_core.model.hf.mpt import MPT
from llm_core.model.hf.rwkv import RWKV

FAMILIES = (
    *(LLAMA, MISTRAL, QWEN3, SMOLLM3, GEMMA2, GPT2, MPT),
    *(MIXTRAL, DEEPSEEK_V2, DEEPSEEK_V3, LFM2, MAMBA2, RWKV),
)


def family_of(spec: ModelSpec) -> Family:
    """The first family that says all of ``spec``; raises ``PedigreeError`` with each one's reasons where none does."""
    for family in FAMILIES:
        if not family.reasons_against(spec):
            return family
    raise PedigreeError(f"no architecture of transformers is this model:\n{why_none(spec)}")


def why_none(spec: ModelSpec) -> str:
    """A line for each family with what of ``spec`` it can't say; empty where one says all."""
    reasons = {family.name: family.reasons_against(spec) for family in FAMILIES}
    return "\n".join(f"{name}: {told(found)}" for name, found in reasons.items()) if all(reasons.values()) else ""


def family_named(name: object) -> Family:
    """The family of a ``model_type``; raises ``PedigreeError`` for one that is not known."""
    for family in FAMILIES:
        if family.name == name:
            return family
    known = ", ".join(family.name for family in FAMILIES)
    raise PedigreeError(f"model_type {name!r} can't be taken over; known: {known}")
