"""The replacements of the normal form as regular expressions, for cleaning and for prompts."""

from functools import cache

import numpy as np

from llm_core.data.kernels.characters import (
    CODE_POINTS,
    EMOJI,
    LETTER,
    MARK,
    NUMBER,
    PUNCTUATION,
    SPACE,
    character_table,
)
from llm_core.experiment.cleaning import Kind, TextForm

_SYMBOL = 256
"""A flag beside those of ``characters``: no letter, mark, number, punctuation or emoji."""

_KEPT = {"letters": LETTER, "digits": NUMBER, "punctuation": PUNCTUATION, "symbols": _SYMBOL, "emoji": EMOJI}

# Controls, and characters without width that change no letter: soft hyphen, zero-width space, word joiner, byte-order
# mark, direction marks. The joiners U+200C and U+200D stay: some scripts and all compound emoji need them.
_INVISIBLE_RANGES = (
    (0x00, 0x08),
    (0x0E, 0x1F),
    (0x7F, 0x84),
    (0x86, 0x9F),
    (0xAD, 0xAD),
    (0x61C, 0x61C),
    (0x200B, 0x200B),
    (0x200E, 0x200F),
    (0x202A, 0x202E),
    (0x2060, 0x2060),
    (0x2066, 0x2069),
    (0xFEFF, 0xFEFF),
)
_JOINERS = "\u200c\u200d"

_PLAIN = {
    **dict.fromkeys("‘’‚‛′", "'"),
    **dict.fromkeys("“”„‟″«»", '"'),
    **dict.fromkeys("‐‑‒–—―−", "-"),
    "…": "...",
}
_CURLY = "‘’“”"

Replacement = tuple[str, str]
"""(pattern, replacement)"""

MARK_OF_GAP = "\x00"
"""Stands for a dropped run of characters until it is replaced. No text has it: it is among the invisible characters."""


def _range(first: int, last: int) -> str:
    return rf"\x{{{first:x}}}" if first == last else rf"\x{{{first:x}}}-\x{{{last:x}}}"


LINES_AND_SPACES: tuple[Replacement, ...] = (
    ("\r\n?|[\x0b\x0c\x85\u2028\u2029]", "\n"),
    (f"[{''.join(_range(*ends) for ends in _INVISIBLE_RANGES)}]", ""),
    ("[\u00a0\u2007\u202f]", " "),
)
"""Plain line ends, no invisible characters, plain spaces; in this order."""


def plain_quotes(form: TextForm) -> list[Replacement]:
    """Typographic characters become those of a keyboard (see ``TextForm.plain_quotes``)."""
    replaced = sorted(_CURLY if form.plain_quotes == "curly" else _PLAIN if form.plain_quotes else "")
    plain = sorted({_PLAIN[character] for character in replaced})
    return [(f"[{''.join(character for character in replaced if _PLAIN[character] == new)}]", new) for new in plain]


@cache
def gaps(kinds: tuple[Kind, ...] | None) -> str | None:
    """The pattern of a run of characters that are none of ``kinds``; None if all are kept.

    Marks and joiners belong to the character before them. An emoji counts as an emoji only.
    """
    if kinds is None:
        return None
    keep = sum(_KEPT[kind] for kind in kinds)
    classes = character_table().astype(np.int32)
    invisible, joiner = np.zeros(CODE_POINTS, dtype=bool), np.zeros(CODE_POINTS, dtype=bool)
    for first, last in _INVISIBLE_RANGES:
        invisible[first : last + 1] = True
    joiner[[ord(character) for character in _JOINERS]] = True
    along = (classes & MARK != 0) | joiner
    emoji, other = classes & EMOJI != 0, classes & (LETTER | NUMBER | PUNCTUATION)
    stays = np.where(emoji, keep & EMOJI != 0, np.where(other != 0, (other & keep) != 0, keep & _SYMBOL != 0))
    dropped = ~stays & ~along & (classes & SPACE == 0) & ~invisible
    if not dropped.any():
        return None
    return f"{_any_of(dropped)}[{_any_of(dropped)}{_any_of(along)}]*"


def _any_of(table: np.ndarray) -> str:
    """The character class of the code points that are true in ``table``."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], table, [False]]).astype(np.int8)))
    return f"[{''.join(_range(first, stop - 1) for first, stop in edges.reshape(-1, 2).tolist())}]"
