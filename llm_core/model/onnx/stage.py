"""The stage ``onnx_export``: the trained model for onnxruntime, compared with ours before it is kept.

Every plan imports this module for its checks, so only ``build`` imports torch.
"""

import shutil

from llm_core.experiment.chat import TEMPLATE_FILE
from llm_core.experiment.evaluation import ChecksSpec
from llm_core.experiment.model import ModelSpec
from llm_core.graph.job import Job
from llm_core.graph.stage import Verdict
from llm_core.model.onnx.results import ONNXExport


def build(job: Job, model: ModelSpec, sequence_length: int) -> ONNXExport:
    """Write ``model.onnx`` and the tokenizer, or nothing where the exporter can't, or onnxruntime disagrees."""
    from llm_core.model.files import check_model, load_model
    from llm_core.model.onnx.checked import write_checked

    folder = job.path("model")
    check_model(folder, model)
    network, _ = load_model(folder)
    tokenizer = job.path("tokenizer", "tokenizer.json")
    found = write_checked(network, job.out, sequence_length=sequence_length, tokenizer=tokenizer)
    if found.refused is None and (folder / TEMPLATE_FILE).is_file():
        shutil.copyfile(folder / TEMPLATE_FILE, job.out / TEMPLATE_FILE)
    return found


def onnxruntime_agrees(results: ONNXExport, bounds: ChecksSpec) -> Verdict:
    """There is a file, and onnxruntime computes the logits of Pedigree with it, where it was asked."""
    del bounds
    return Verdict(results.refused is None, results.told())


def onnxruntime_was_asked(results: ONNXExport, bounds: ChecksSpec) -> Verdict:
    """onnxruntime has run the file."""
    del bounds
    reason = results.parity.not_checked if results.parity is not None else "there is no file"
    return Verdict(reason is None, "onnxruntime has run the file" if reason is None else f"not checked: {reason}")
