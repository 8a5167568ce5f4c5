"""The check that the stages share which drop documents."""

from typing import Any

from llm_core.graph.stage import Check


def something_left(stats: dict[str, Any]) -> Check:
    """``not_empty``: a stage that drops documents left at least one."""
    documents = stats["documents"]
    return Check("not_empty", documents > 0, f"{documents} documents are left", value=documents, bound=1)
