"""What a section of a report consists of. A template renders every block, and escapes all text."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from llm_core.report.style import Picture

Tag = Literal["a", "b", "code", "del", "ins", "mark"]
_TAGS = ("a", "b", "code", "del", "ins", "mark")


@dataclass(frozen=True)
class Marked:
    """A piece of text with an HTML tag. ``a``: a link to the section whose anchor is the text."""

    text: str
    tag: Tag

    def __post_init__(self) -> None:
        if self.tag not in _TAGS:
            raise ValueError(f"tag {self.tag!r}: choose one of {', '.join(_TAGS)}")


Piece = str | Marked


@dataclass(frozen=True)
class Text:
    """A paragraph; see ``text``, ``note`` and ``warning``."""

    pieces: Sequence[Piece]
    style: str = ""
    block: ClassVar[str] = "text"


def text(*pieces: Piece) -> Text:
    """A paragraph."""
    return Text(pieces)


def note(*pieces: Piece) -> Text:
    """A paragraph in small, muted letters: how to read the block before it."""
    return Text(pieces, "note")


def warning(*pieces: Piece) -> Text:
    """A paragraph with a red bar."""
    return Text(pieces, "warning")


@dataclass(frozen=True)
class Tile:
    """A headline number."""

    what: str
    value: str
    more: str = ""


@dataclass(frozen=True)
class Tiles:
    """Headline numbers. The first one is highlighted."""

    tiles: Sequence[Tile]
    block: ClassVar[str] = "tiles"


@dataclass(frozen=True)
class Facts:
    """Pairs (name, value). ``tight``: for many short ones."""

    rows: Sequence[tuple[str, str]]
    caption: str = ""
    tight: bool = False
    block: ClassVar[str] = "facts"


@dataclass(frozen=True)
class Cell:
    """A cell of a table. ``style``: classes of the style sheet. ``more``: a muted second line. ``title``: a tooltip."""

    text: str
    style: str = ""
    more: str = ""
    title: str = ""
    marked: bool = False

    @property
    def pill(self) -> bool:
        """Whether its text is in a coloured pill."""
        return self.style.startswith("pill")


@dataclass(frozen=True)
class Row:
    """A row of a table. ``style``: ``ours`` and ``level`` are bold, ``total`` has a line above, ``drop`` is muted."""

    cells: Sequence[str | Cell]
    style: str = ""


@dataclass(frozen=True)
class Table:
    """A table. Its first ``names`` columns contain text, all others numbers.

    ``pinned``: the first column stays in sight when a wide table scrolls.
    """

    columns: Sequence[str]
    rows: Sequence[Row | Sequence[str | Cell]]
    names: int = 1
    caption: str = ""
    pinned: bool = False
    block: ClassVar[str] = "table"

    def lines(self) -> list[tuple[str, list[Cell]]]:
        """(style, cells) of every row."""
        rows = [row if isinstance(row, Row) else Row(row) for row in self.rows]
        return [(row.style, [Cell(cell) if isinstance(cell, str) else cell for cell in row.cells]) for row in rows]


@dataclass(frozen=True)
class Card:
    """A sample of text. ``head``: where it comes from, with the tooltip ``title``. ``said``: what a stage says of it.
    ``more``: the number of characters that are not shown."""

    head: str
    pieces: Sequence[Piece]
    title: str = ""
    said: str = ""
    more: int = 0


@dataclass(frozen=True)
class Cards:
    """Samples of text side by side. ``style``: ``wide`` for few in a row, ``sides`` for two texts to compare."""

    cards: Sequence[Card]
    style: str = ""
    caption: str = ""
    block: ClassVar[str] = "cards"


@dataclass(frozen=True)
class Pair:
    """Blocks side by side, where there is room."""

    blocks: "Sequence[Block]"
    block: ClassVar[str] = "pair"


@dataclass(frozen=True)
class Heading:
    """A heading inside a section."""

    text: str
    block: ClassVar[str] = "heading"


@dataclass(frozen=True)
class Folded:
    """Blocks that a click opens. They are open in print."""

    summary: str
    aside: str
    blocks: "Sequence[Block]"
    block: ClassVar[str] = "folded"


Block = Text | Tiles | Facts | Table | Cards | Pair | Heading | Folded | Picture


@dataclass(frozen=True)
class Section:
    """A section of a page."""

    title: str
    blocks: Sequence[Block]


def pictures_in(blocks: Sequence[Block]) -> list[Picture]:
    """All pictures of ``blocks``, in order."""
    found: list[Picture] = []
    for item in blocks:
        if isinstance(item, Picture):
            found.append(item)
        elif isinstance(item, Pair | Folded):
            found += pictures_in(item.blocks)
    return found
