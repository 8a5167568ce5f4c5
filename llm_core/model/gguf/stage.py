"""The stage ``gguf_export``: the trained model as files for llama.cpp, each compared with ours before it is kept.

Every plan imports this module for its checks, so only ``build`` imports torch.
"""

from llm_core.experiment.chat import TEMPLATE_FILE
from llm_core.experiment.evaluation import ChecksSpec
from llm_core.experiment.exports import GGUFType
from llm_core.experiment.model import ModelSpec
from llm_core.graph.job import Job
from llm_core.graph.stage import Verdict
from llm_core.model.gguf.results import GGUFExport


def build(
    job: Job, name: str, model: ModelSpec, sequence_length: int, types: tuple[GGUFType, ...], families: tuple[str, ...]
) -> GGUFExport:
    """Write ``{name}-{type}.gguf`` for each of ``types``. A file is removed if llama.cpp computes something else."""
    from llm_core.chat.model_chat import stop_ids
    from llm_core.model.files import check_model, load_model
    from llm_core.model.gguf.checked import write_checked
    from llm_core.model.gguf.vocabulary import not_brought

    folder, tokenizer = job.path("model"), job.path("tokenizer", "tokenizer.json")
    check_model(folder, model)
    network, _ = load_model(folder)
    template = folder / TEMPLATE_FILE
    files, architecture = [], ""
    for dtype in types:
        architecture, file = write_checked(
            network,
            job.out / f"{name}-{dtype}.gguf",
            sequence_length=sequence_length,
            dtype=dtype,
            tokenizer=tokenizer,
            template=template.read_text(encoding="utf-8") if template.is_file() else None,
            stop=stop_ids(folder, tokenizer),
            name=name,
            families=families,
        )
        job.runtime.log(file.told())
        files.append(file)
    note = not_brought(tokenizer)
    return GGUFExport(architecture=architecture, files=files, notes=[] if note is None else [note])


def llama_cpp_agrees(results: GGUFExport, bounds: ChecksSpec) -> Verdict:
    """llama.cpp computes the logits and token ids of Pedigree, where it was asked."""
    del bounds
    return Verdict(not any(file.refused for file in results.files), "; ".join(file.told() for file in results.files))


def llama_cpp_was_asked(results: GGUFExport, bounds: ChecksSpec) -> Verdict:
    """llama.cpp has run every file."""
    del bounds
    reasons = {file.exact.not_checked for file in results.files if file.exact.not_checked is not None}
    return Verdict(not reasons, f"not checked: {'; '.join(reasons)}" if reasons else "llama.cpp has run every file")
