"""What the export for transformers measured."""

from llm_core.graph.results import Results


class HFExport(Results):
    """A folder for transformers, or the reasons why there is none."""

    model_type: str | None
    """The architecture; None where none of theirs is this model."""
    reasons: list[str]
    """One line per architecture, where none is."""
    largest_difference: float
    """Between the weights and what is read back from the folder."""
