"""The words by which passages are found."""

import re

_UNSPACED = "\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff"
"""Thai, kana and Chinese characters, which stand without spaces: each counts as a word."""
_WORD = re.compile(f"[{_UNSPACED}]|[^\\W{_UNSPACED}]+")


def words(text: str) -> list[str]:
    """The words of ``text`` in small letters, without punctuation."""
    return _WORD.findall(text.lower())
