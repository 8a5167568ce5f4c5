"""The check that reports share."""

from collections.abc import Mapping
from typing import Any

from llm_core.experiment.evaluation import ChecksSpec
from llm_core.graph.stage import Verdict


def page_written(stats: Mapping[str, Any], bounds: ChecksSpec) -> Verdict:
    """The page has its figures."""
    del bounds
    count = len(stats["figures"])
    return Verdict(count > 0, f"{stats['page_bytes']} bytes, {count} figures", value=count)
