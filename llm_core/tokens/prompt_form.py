r"""The form of an experiment's documents as a normaliser of ``tokenizer.json``: for texts that nothing has cleaned.

Cleaning brings documents into a form before they are encoded (``llm_core.data.normalise``). Nothing cleans prompts,
suites, and the texts that an exported tokenizer gets. This normaliser does to their characters what cleaning does. It
does not do what cleaning does to lines, because a prompt may end in the middle of a line: white space at the end of a
line, empty lines, and white space at either end of the text stay as they are.
"""

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from llm_core.data.kernels.normal_form import plain_characters, unkept, unseen
from llm_core.data.normalise import kept_flags
from llm_core.experiment.cleaning import TextForm
from llm_core.tokens.prompts import FORM

Step = dict[str, Any]

_BLANK = r"[^\S\n]"
_MARK = "\x00"  # no text has it: it is among the ``unseen``

# A capital sigma at the end of a word has another lower case, which the step Lowercase does not know. The look-behind
# has a bound: without one, the library would search from the start of the text.
_CASED = r"[\p{Cased}&&\P{Case_Ignorable}]"
_LAST_SIGMA = rf"(?<={_CASED}\p{{Case_Ignorable}}{{0,16}})Σ(?!\p{{Case_Ignorable}}*{_CASED})"


def write_form(folder: Path, form: TextForm) -> None:
    """Write the normaliser that brings prompts into ``form``, beside a ``tokenizer.json``."""
    (folder / FORM).write_text(json.dumps(normaliser(form), ensure_ascii=False) + "\n", encoding="utf-8")


@cache
def normaliser(form: TextForm) -> Step:
    """The ``normalizer`` of a ``tokenizer.json`` that brings characters into ``form``.

    Characters that are newer than the library's Unicode tables stay as they are.
    """
    steps, formed = _in_order(form), _formed(form)
    if formed:  # cleaning goes on until nothing changes; no text is known that changes after this
        steps = [*steps, *formed, *steps]
    return {"type": "Sequence", "normalizers": steps}


def _in_order(form: TextForm) -> list[Step]:
    steps = [
        _replace("\r\n?|[\x0b\x0c\x85\u2028\u2029]", "\n"),
        _replace(_any_of(unseen()), ""),
        _replace("[\u00a0\u2007\u202f]", " "),
    ]
    keep = kept_flags(form)
    if keep:
        steps += _spaced(*map(_any_of, unkept(keep)))
    plain = plain_characters(form.plain_quotes)
    steps += [_replace(f"[{''.join(c for c in plain if plain[c] == new)}]", new) for new in sorted(set(plain.values()))]
    return steps


def _spaced(dropped: str, along: str) -> list[Step]:
    """Steps that replace a run of dropped characters by the white space before it, or else after it, or else a space.

    Each run first becomes one mark. Looking back over whole runs would take minutes for 100 kB: at every blank, the
    library would search from the start of the text.
    """
    return [
        _replace(rf"{dropped}[{dropped}{along}]*", _MARK),
        _replace(rf"(?:(?<=\s)|\A){_MARK}(?:{_BLANK}|{_MARK})*", ""),
        _replace(rf"(?<={_MARK}{_BLANK}){_BLANK}+", ""),
        _replace(rf"{_MARK}(?=\s|\z)", ""),
        _replace(_MARK, " "),
    ]


def _formed(form: TextForm) -> list[Step]:
    unicode = [] if form.unicode_form == "none" else [{"type": form.unicode_form}]
    lower = [_replace(_LAST_SIGMA, "ς"), {"type": "Lowercase"}, *unicode]
    return [*unicode, *lower] if form.uncased else unicode


def _replace(pattern: str, new: str) -> Step:
    return {"type": "Replace", "pattern": {"Regex": pattern}, "content": new}


def _any_of(table: np.ndarray) -> str:
    """A class of the code points that are true in ``table``."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], table, [False]]).astype(np.int8)))
    return f"[{''.join(_range(first, stop - 1) for first, stop in edges.reshape(-1, 2).tolist())}]"


def _range(first: int, last: int) -> str:
    return rf"\x{{{first:x}}}" if first == last else rf"\x{{{first:x}}}-\x{{{last:x}}}"
