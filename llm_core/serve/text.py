"""From tokens to text, piece by piece."""

from collections.abc import Callable, Sequence

from llm_core.errors import PedigreeError
from llm_core.model.generate import begun

_BROKEN = "\ufffd"
_LONGEST_CHARACTER = 4
"""Bytes, and so at most as many tokens."""


def check_text(text: str, name: str) -> None:
    """Raises ``PedigreeError`` for bytes that were no UTF-8, and for other halves of characters.

    ``name``: of the text, for the message.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise PedigreeError(
            f"{name}: character {error.start + 1} is no text ({text[error.start]!a}): give whole characters, in UTF-8"
        ) from None


class TextStream:
    """The text of tokens that come one after another, up to a stop string.

    ``decode``: the text of token ids. ``stop``: strings that end the text and are not part of it. Text is delayed while
    it may be the beginning of a stop string, or half of a character.
    """

    def __init__(self, decode: Callable[[list[int]], str], stop: Sequence[str] = ()) -> None:
        self.reached = False
        """Whether a stop string has come. Nothing follows it."""
        self._decode = decode
        self._stop = tuple(stop)
        self._before: list[int] = []
        self._tokens: list[int] = []
        self._held = ""

    def take(self, tokens: Sequence[int]) -> str:
        """The text that is certain after ``tokens``."""
        self._tokens += tokens
        # The text of a token may depend on the one before it (a leading space), so both are decoded together.
        text = self._decode(self._before + self._tokens)[len(self._decode(self._before)) :]
        if text.endswith(_BROKEN) and len(self._tokens) < _LONGEST_CHARACTER:
            return ""
        if self._tokens:
            self._before, self._tokens = [] if text.endswith(_BROKEN) else self._tokens, []
        return self._certain(text)

    def rest(self) -> str:
        """What was delayed. No token follows."""
        text = self._decode(self._before + self._tokens)[len(self._decode(self._before)) :]
        self._tokens = []
        certain = self._certain(text)
        rest, self._held = "" if self.reached else self._held, ""
        return certain + rest

    def _certain(self, text: str) -> str:
        if self.reached:
            return ""
        text = self._held + text
        places = [place for end in self._stop if (place := text.find(end)) >= 0]
        if places:
            self.reached, self._held = True, ""
            return text[: min(places)]
        held = max((begun(text, end) for end in self._stop), default=0)
        self._held = text[len(text) - held :]
        return text[: len(text) - held]
