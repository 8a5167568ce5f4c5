"""The results of the stages that tune a model."""

from typing import Any

from llm_core.graph.results import Results


class Conversations(Results):
    """Conversations, read from the sources and searched for eval items."""

    conversations: int
    records: int
    """Records of all files that meet the conditions of ``where``, in the share that is read."""
    conversations_by_source: dict[str, int]
    turns: int
    dropped: int
    """Records that are no conversation."""
    dropped_by_reason: dict[str, int]
    offenders: list[str]
    """The first records that were dropped, with their place."""
    skipped: int
    """Records that do not meet a condition of ``where``."""
    turns_left_out: int
    """Turns after the last answer of a conversation: nothing is learnt there."""
    contaminated: int
    """Conversations that were dropped because they contain an eval item."""
    contaminated_by_suite: dict[str, int]


class ConversationShards(Results):
    """Conversations as tokens with a target mask. A pair of answers is two conversations, but ``too_long`` counts it
    as one, and ``longest`` has the tokens of both."""

    train_conversations: int
    heldout_conversations: int
    train_tokens: int
    heldout_tokens: int
    train_targets: int
    """Tokens that the model learns to write."""
    heldout_targets: int
    target_share: float
    """Of the tokens of both splits."""
    too_long: int
    """Conversations with more tokens than a sequence. They are left out."""
    too_long_share: float
    longest: int
    """Tokens of the longest conversation, those that are too long included."""
    control_tokens_typed: int
    """Conversations in which someone wrote the name of a control token; it is encoded as text."""
    persona_repeats: int
    """How often each exchange of the persona is in the training split."""
    persona_share: float
    """Of the tokens of the training split."""
    stop: list[int]
    """The ids that end an answer."""
    template: str
    """Jinja."""


class MaskGate(Results):
    """The target mask in the written shards, compared with the conversations that it was made of."""

    conversations: int
    without_target: int
    wrong_targets: int
    """Conversations whose targets do not decode to the assistant's turns, each with the end of its turn."""
    first_wrong: list[str]
    tokens: int
    targets: int
    target_share: float
    missing: int
    """Conversations that are in no shard and are not counted as too long."""
    shown: list[dict[str, Any]]
    """Five conversations: their place, and their tokens as texts, each with whether it is a target."""
