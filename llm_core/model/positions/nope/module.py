"""No position encoding: only the causal mask orders the tokens (Kazemnejad et al., 2023)."""

from llm_core.model.positions.position import Position


class Nope(Position):
    """Attention without position encoding."""
