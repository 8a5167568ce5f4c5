"""The stage that writes a trained model for other programs."""

from assets.training import TRAIN_PACKAGES, families
from llm_core.experiment.experiment import Experiment
from llm_core.graph.stage import Stage

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
