"""The results of the export for onnxruntime."""

from llm_core.graph.results import Results
from llm_core.model.clients.results import Parity

BOUND = 1e-3
"""The largest difference of a logit, as a share of the standard deviation of all logits."""


class ONNXExport(Results):
    """A file for onnxruntime."""

    refused: str | None
    """Why there is no file; None if there is one."""
    parity: Parity | None

    def told(self) -> str:
        """One line for people."""
        return self.refused or (self.parity.told(BOUND) if self.parity else "")
