"""The results of the export for transformers."""

from llm_core.graph.results import Results


class HFExport(Results):
    """A folder for transformers, or the reasons against one."""

    model_type: str | None
    """The architecture; None if transformers has none for this model."""
    reasons: list[str]
    """One line per architecture, if none is suitable."""
    largest_difference: float
    """The largest difference between the weights and those read back from the folder."""
