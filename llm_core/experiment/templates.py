"""Templates that join several fields into one text: ``{title}\\n\\n{data.text}``."""

import re
from typing import NamedTuple

_PIECES = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")


class Template(NamedTuple):
    """``texts`` surround ``fields``: there is one more text than fields."""

    texts: tuple[str, ...]
    fields: tuple[str, ...]

    def filled(self, values: list[str]) -> str:
        """The text with the ``values`` of the fields, in their order. Empty when all values are empty."""
        if not any(value.strip() for value in values):
            return ""
        pieces = [self.texts[0]]
        for value, text in zip(values, self.texts[1:], strict=True):
            pieces += (value, text)
        return "".join(pieces)


def parsed_template(text: str) -> Template:
    """Parse a template. Raises ``ValueError`` for a syntax error, with its position.

    ``{{`` and ``}}`` are literal braces.
    """
    texts, fields, end = [""], [], 0
    for piece in _PIECES.finditer(text):
        texts[-1] += text[end : piece.start()]
        end = piece.end()
        if piece[0] in ("{{", "}}"):
            texts[-1] += piece[0][0]
        elif piece[1] is None:
            raise ValueError(
                f"template: the {piece[0]!r} at character {piece.start()} has no partner; write {{{{ or }}}} "
                "for a brace"
            )
        elif not piece[1].strip():
            raise ValueError(f"template: the braces at character {piece.start()} contain no field's name")
        else:
            fields.append(piece[1].strip())
            texts.append("")
    texts[-1] += text[end:]
    if not fields:
        raise ValueError("template: names no field; write a field's name in braces, as in {title}")
    return Template(tuple(texts), tuple(fields))
