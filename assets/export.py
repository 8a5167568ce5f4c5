"""The stages that write a trained model for other programs."""

from assets.training import TRAIN_PACKAGES, families
from llm_core.errors import PedigreeError
from llm_core.experiment.experiment import Experiment
from llm_core.extras import is_installed
from llm_core.graph.stage import Stage
from llm_core.model.gguf.patterns import pre_tokenizer
from llm_core.tokens.patterns import PATTERNS

OWN_CODE_FILES = tuple(f"llm_core/model/hf/own_code/{name}_pedigree.py" for name in ("configuration", "modeling"))


def hf_export(experiment: Experiment, name: str, group: str, run: str) -> Stage:
    """A stage that writes the model of the stage ``run`` for transformers."""
    return Stage(
        name=name,
        kind="hf_export",
        group=group,
        description="The model and its tokenizer as a folder for transformers.",
        build="llm_core.model.hf.export_stage:build",
        results="llm_core.model.hf.results:HFExport",
        blocking=(":same_weights",),
        non_blocking=(":loads_in_transformers",),
        inputs={"model": run, "tokenizer": "tokenizer"},
        config={
            "model": experiment.model,
            "sequence_length": experiment.base_training().sequence_length,
            "families": families(),
        },
        packages=TRAIN_PACKAGES,
        bounds=experiment.checks,
        code=OWN_CODE_FILES,
        volatile=("*.py",),  # copies of the code, with comments and messages, which are no part of identities
    )


def gguf_exports(experiment: Experiment, name: str, group: str, run: str) -> list[Stage]:
    """A stage that writes the model of the stage ``run`` for llama.cpp; empty unless ``exports.gguf`` asks for it.

    Raises ``PedigreeError`` if llama.cpp can't have the model or its tokenizer.
    """
    if not experiment.exports.gguf:
        return []
    _check_gguf(experiment)
    return [
        Stage(
            name=name,
            kind="gguf_export",
            group=group,
            description="The model and its tokenizer as files for llama.cpp, compared with it where it is installed.",
            build="llm_core.model.gguf.stage:build",
            results="llm_core.model.gguf.results:GGUFExport",
            non_blocking=(":llama_cpp_agrees", ":llama_cpp_was_asked"),
            inputs={"model": run, "tokenizer": "tokenizer"},
            config={
                "name": f"{experiment.name}-{run}",
                "model": experiment.model,
                "sequence_length": experiment.base_training().sequence_length,
                "types": experiment.exports.gguf,
                "families": families(),
            },
            packages={**TRAIN_PACKAGES, "gguf": "gguf"},
            bounds=experiment.checks,
            code=("llm_core.model.gguf.llama_process:main",),
        )
    ]


def onnx_exports(experiment: Experiment, name: str, group: str, run: str) -> list[Stage]:
    """A stage that writes the model of the stage ``run`` for onnxruntime; empty unless ``exports.onnx`` asks for it."""
    if not experiment.exports.onnx:
        return []
    return [
        Stage(
            name=name,
            kind="onnx_export",
            group=group,
            description="The model and its tokenizer for onnxruntime, compared with it where it is installed.",
            build="llm_core.model.onnx.stage:build",
            results="llm_core.model.onnx.results:ONNXExport",
            non_blocking=(":onnxruntime_agrees", ":onnxruntime_was_asked"),
            inputs={"model": run, "tokenizer": "tokenizer"},
            config={"model": experiment.model, "sequence_length": experiment.base_training().sequence_length},
            packages={**TRAIN_PACKAGES, "onnx": "onnx", "onnxscript": "onnx"},
            bounds=experiment.checks,
        )
    ]


def _check_gguf(experiment: Experiment) -> None:
    """An imported tokenizer is checked when the file is written."""
    tokenizer, place = experiment.tokenizer, f"{experiment.name}: exports.gguf: llama.cpp"
    if tokenizer.kind == "trained":
        if pre_tokenizer(PATTERNS[tokenizer.pattern], whole_pieces=False) is None:
            raise PedigreeError(
                f"{place} has no pattern like tokenizer.pattern {tokenizer.pattern}, and a file can't bring one along; "
                "choose llama3 or gpt2, or remove exports.gguf"
            )
        if not tokenizer.byte_fallback:
            raise PedigreeError(f"{place} needs an entry for every byte; remove tokenizer.byte_fallback: false")
    if is_installed("torch"):
        from llm_core.model.gguf.architectures import architecture_of

        found = architecture_of(experiment.model, families())
        if isinstance(found, str):
            raise PedigreeError(f"{place} can't have this model: {found}; remove exports.gguf, or change the model")
