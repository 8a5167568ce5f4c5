"""The results of the export for llama.cpp."""

from llm_core.experiment.exports import GGUFType
from llm_core.graph.results import Results
from llm_core.model.clients.results import Parity

BOUND = 1e-2
"""The largest difference of a logit in fp32, as a share of the standard deviation of all logits.

llama.cpp computes GELU from a table in half precision, which gives up to 3e-3. A wrong order of rows gives above 1.
"""


class GGUFFile(Results):
    """One file."""

    name: str
    dtype: GGUFType
    exact: Parity
    """Of the same model as an fp32 file. It decides whether the file is kept."""
    rounded: Parity | None
    """Of the file itself, if it is not fp32: how far rounding moves the logits of random tokens."""
    refused: bool
    """Whether llama.cpp computes something else. Such a file is not kept."""

    def told(self) -> str:
        """One line for people."""
        found = f"{self.name}: {self.exact.told(BOUND)}"
        if self.rounded is not None and self.rounded.same_likeliest is not None:
            found += (
                f"; rounded to {self.dtype}, {self.rounded.same_likeliest:.1%} of the likeliest tokens are the same"
            )
        elif self.rounded is not None and self.rounded.problem is not None:
            found += f"; as {self.dtype}, {self.rounded.problem}"
        return f"{found}; the file was not kept" if self.refused else found


class GGUFExport(Results):
    """Files for llama.cpp."""

    architecture: str
    """llama.cpp's name."""
    files: list[GGUFFile]
    notes: list[str]
    """What llama.cpp does otherwise than transformers with the folder of the stage ``hf_export``."""
