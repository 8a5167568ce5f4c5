"""The section ``exports``: files of the trained models for other programs than transformers."""

from typing import Literal

from pydantic import Field

from llm_core.experiment.base import Spec

GGUFType = Literal["f32", "f16", "q8_0"]


class ExportsSpec(Spec):
    """What is written beside the folder for transformers, for the full run and for each tuned model."""

    gguf: tuple[GGUFType, ...] = Field(default=())
    """Files for llama.cpp, one per type of the matrices. ``q8_0``: 8 bits, and a scale per 32 numbers."""
    onnx: bool = False
    """A graph for onnxruntime, from token ids to logits."""
