"""A kernel that is compiled anew in every process: nothing keeps it."""

from typing import Any

import numba

from llm_core.graph.part import PartWork


@numba.njit
def doubled(number: int) -> int:
    return number * 2


def double(work: PartWork) -> dict[str, Any]:
    """The input's number, doubled."""
    (work.out / f"{work.name}.txt").write_text(str(doubled(int(work.inputs["text"].read_text()))))
    return {}
