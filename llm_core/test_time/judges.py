"""Judges: which of several answers is the best? A judge sees the question, an answer and its likelihood."""

from collections.abc import Sequence


def likelihood(question: str, answer: str, nats: Sequence[float]) -> float:
    """The log-likelihood of the whole answer. ``nats``: the log-probability of each of its tokens."""
    del question, answer
    return sum(nats)


def likelihood_per_token(question: str, answer: str, nats: Sequence[float]) -> float:
    """The mean log-probability of a token, so that a longer answer does not count as worse."""
    del question, answer
    return sum(nats) / max(1, len(nats))
