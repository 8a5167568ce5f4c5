"""No positions at all: the causal mask alone tells first from last (Kazemnejad et al., 2023)."""

from llm_core.model.positions.position import Position


class Nope(Position):
    """Attention that knows of no positions."""
