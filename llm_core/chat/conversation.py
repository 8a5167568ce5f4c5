"""A conversation: an optional system line, then turns of user and assistant in alternation."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from llm_core.errors import PedigreeError

ROLES = ("system", "user", "assistant")


class Turn(NamedTuple):
    """``role``: one of ``ROLES``. ``content`` has no white space at either end, and is not empty."""

    role: str
    content: str


class ConversationError(PedigreeError):
    """A list of messages that is no conversation. ``reason``: a short one, the same for all faults of its kind."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def checked(messages: Sequence[Mapping[str, Any]]) -> list[Turn]:
    """The messages (``role`` and ``content``) as turns. White space at the ends of a turn goes.

    The last turn may be of either the user or the assistant. Raises ``ConversationError``, which names the message, for
    an empty turn, a role that is unknown or not expected there, a system line alone, and text that can't be encoded.
    """
    turns: list[Turn] = []
    for number, message in enumerate(messages):
        place = f"messages[{number}]"
        role, content = message.get("role"), message.get("content")
        if role not in ROLES:
            raise ConversationError("unknown role", f"{place}: role {role!r} is not one of {', '.join(ROLES)}")
        if not isinstance(content, str):
            raise ConversationError("content is no text", f"{place}: content is {type(content).__name__}, not text")
        if not content.strip():
            raise ConversationError("empty turn", f"{place}: the {role}'s turn has no text")
        _check_text(place, content)
        expected = _expected(turns)
        if role not in expected:
            before = f"after {turns[-1].role!r}" if turns else "at the beginning"
            raise ConversationError(
                "turns do not alternate",
                f"{place}: a turn of role {role!r} {before}; expected is {' or '.join(map(repr, expected))}",
            )
        turns.append(Turn(role, content.strip()))
    if not turns:
        raise ConversationError("no turn", "messages: the conversation has no turn")
    if turns[-1].role == "system":
        raise ConversationError("only a system line", "messages: there is only a system line; add a user's turn")
    return turns


def answered(turns: Sequence[Turn]) -> list[Turn]:
    """The turns up to the last answer. Raises ``ConversationError`` if there is none."""
    last = max((number for number, turn in enumerate(turns) if turn.role == "assistant"), default=None)
    if last is None:
        raise ConversationError("no answer", "messages: no turn is the assistant's, so there is nothing to learn")
    return list(turns[: last + 1])


def _expected(turns: Sequence[Turn]) -> tuple[str, ...]:
    if not turns:
        return ("system", "user")
    return ("assistant",) if turns[-1].role == "user" else ("user",)


def _check_text(place: str, content: str) -> None:
    if "\0" in content:
        raise ConversationError("NUL character", f"{place}: content has a NUL character")
    try:
        content.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ConversationError(
            "lone surrogate", f"{place}: character {error.start} of content is half of a surrogate pair"
        ) from None
