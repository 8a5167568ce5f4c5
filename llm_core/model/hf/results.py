"""The results of the export for transformers."""

from llm_core.graph.results import Results


class HFExport(Results):
    """A folder for transformers."""

    model_type: str | None
    """The architecture: ``pedigree`` if the folder has the code of the model; None if there is no folder."""
    reasons: list[str]
    """One line per architecture of transformers, if none is suitable."""
    largest_difference: float
    """The largest difference between the weights and those read back from the folder."""
