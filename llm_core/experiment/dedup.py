"""The sections that say which documents stay, and on which side: deduplication and split."""

from typing import Annotated, Literal

from pydantic import Field

from llm_core.experiment.base import Spec

RUNTIME_ONLY = True


class DedupSpec(Spec):
    """Which documents count as the same."""

    method: Literal["exact", "none"] = "exact"


class SplitSpec(Spec):
    """The held-out split, chosen by document hash: it stays as it is when the corpus grows."""

    heldout_share: Annotated[float, Field(gt=0, lt=0.5)] = 0.02
    salt: str = "pedigree"
