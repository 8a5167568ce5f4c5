"""The recipe's shape, for techniques. ``ValueError`` with the reason where the recipe has no such part."""

from llm_core.model.feed_forwards.gated.spec import GatedSpec
from llm_core.model.feed_forwards.plain.spec import PlainSpec
from llm_core.model.mixers.attention.spec import Attention
from llm_core.optimizations.technique import Recipe


def attention(recipe: Recipe) -> Attention:
    """The attention of the recipe, with all defaults filled in."""
    mixer = recipe.model.mixer
    if not isinstance(mixer, Attention):
        raise ValueError(f"the recipe's mixer is {mixer.kind}, and this is about attention")
    return mixer.resolved(recipe.model.d_model)


def several_heads(recipe: Recipe) -> int:
    """The query heads of its attention, at least two."""
    heads = attention(recipe).n_heads
    if heads < 2:
        raise ValueError("the recipe's attention has one head")
    return heads


def gated_width(recipe: Recipe) -> int:
    """The hidden channels of a gated feed-forward with as many parameters as the recipe's."""
    feed_forward = recipe.model.feed_forward
    if isinstance(feed_forward, GatedSpec):
        return feed_forward.d_ff
    if isinstance(feed_forward, PlainSpec):
        return _multiple(feed_forward.d_ff * 2 / 3)
    kind = "null" if feed_forward is None else feed_forward.kind
    raise ValueError(f"the recipe's feed-forward is {kind}, and this is about one of two or three matrices")


def plain_width(recipe: Recipe) -> int:
    """The hidden channels of a feed-forward of two matrices with as many parameters."""
    feed_forward = recipe.model.feed_forward
    return feed_forward.d_ff if isinstance(feed_forward, PlainSpec) else _multiple(gated_width(recipe) * 3 / 2)


def receptive_width(recipe: Recipe) -> int:
    """The same where a matrix of width × width is added, as in RWKV-4."""
    return _multiple((3 * gated_width(recipe) - recipe.model.d_model) / 2)


def _multiple(width: float) -> int:
    return max(16, 16 * round(width / 16))
