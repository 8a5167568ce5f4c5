"""Tokenizers of others, imported: whether they give the ids that HF tokenizers gives by the file as it is.

    python -m benchmarks.imported_tokenizers FOLDER-OR-FILE…

Takes every ``tokenizer.json`` below a folder. The texts come from a seed: characters of all planes, combining marks,
runs of white space, digits, contractions, scripts without spaces, emoji of several characters, code, and the names of
the file's own added tokens, special and not. Compared is the import that shards are made with, by each encoder that
says it can do it, with HF tokenizers reading the file itself (no special tokens added, and none taken from texts).
The experiment names the special token of the lowest id, and no other.
"""

import argparse
import json
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from llm_core.errors import PedigreeError
from llm_core.experiment.tokens import TokenizerSpec, VocabularyFile
from llm_core.tokens.encoders import Encoder, GigatokenEncoder, HFEncoder, TiktokenEncoder
from llm_core.tokens.importing import import_tokenizer
from llm_core.tokens.tokenizer import load_tokenizer

_AT_ONCE = 500

_PIECES = (
    *(
        "the",
        " of",
        "Word",
        "ALLCAPS",
        "camelCase",
        "é",
        "e\u0301",
        "ß",
        "ſ",
        "İ",
        "ı",
        "ǅ",
        "ﬁ",
        "™",
        "Å",
        "\u212b",
        "Ω",
        "\u2126",
    ),
    *("'s", "'S", "'ſ", "'ll", "'LL", "'re", "'Ve", "'d", "'m", "'T", "’s", "'", '"', "x's'll"),
    *("1", "12", "345", "6789", "1234567890", "3.14", "1,000", "٣", "Ⅷ", "²", "½", "१२", "１２３"),
    *(
        " ",
        "  ",
        "   \n",
        "\t",
        "\n",
        "\n\n\n",
        "\r",
        "\r\n",
        "\x0b",
        "\x0c",
        "\x85",
        "\u00a0",
        "\u2003",
        "\u2028",
        "\u3000",
    ),
    *(
        "\u180e",
        "\u200b",
        "\u200c",
        "\u200d",
        "\u200f",
        "\u202e",
        "\u2060",
        "\ufeff",
        "\ufffd",
        "\ufffe",
        "\uffff",
        "▁",
        "▁▁a",
    ),
    *(
        ".",
        "...",
        "--",
        "=",
        "_",
        "#",
        "/",
        "\\",
        "!!",
        "?)",
        "<p>",
        "</p>",
        "{",
        "[x]",
        "\x00",
        "\x1b",
        "\x7f",
        "\x9f",
    ),
    *("👩", "👩\u200d💻", "👨\u200d👩\u200d👧", "\U0001f1e9\U0001f1ea", "🏳\ufe0f\u200d🌈", "1\ufe0f\u20e3", "👍🏽"),
    *(
        "文",
        "漢字",
        "日本語",
        "ひらがな",
        "カタカナ",
        "한국어",
        "\u1112\u1161\u11ab",
        "中文字符。",
        "שלום",
        "لُغَة",
        "हिन्दी",
        "ไทย",
        "မြန်မာ",
    ),
    *("\u0301", "\u0300\u0323", "\u0323\u0300", "a\u0308\u0301", ">\u0338", "\u064b", "\u0600", "\u0e33", "\u1160"),
    *(
        "def f(x):\n    return x[0]\n",
        "if (a&&b) {\n\tc++;\n}",
        "https://a.b/c?d=%20&e=f#g",
        "a_b::c->d",
        "/* x */",
        "0xFF",
    ),
    *("\ud7ff", "\ue000", "\uf8ff", "\U0010ffff", "\U000f0000", "\u0378", "\U0001fbff", "\U00010400", "\U0001d400"),
    *("\u088f", "\u0c5c", "\ua7ce", "\U00010940", "\U000323b0", "\U00016ff4", "\U00011de1", "\u1c89", "\U00010d4a"),
)
_RUNS = ("a", " ", "\n", "-", "=-", "\u0301", "文", "7", "👩\u200d", "\r\n", "\t ", "A", "\u00a0", "ab", "▁")
_PLANES = (0x250, 0x3000, 0xFFFF, 0x20000, 0x110000)


def hostile(count: int, seed: int, literals: list[str]) -> list[str]:
    """``count`` texts, the same for the same arguments; ``literals``: what a fifth of their pieces are taken from."""
    chance = random.Random(seed)

    def piece() -> str:
        kind = chance.random()
        if literals and kind < 0.2:
            found = chance.choice(literals)
            return found if kind < 0.14 else found[: chance.randint(1, len(found))]
        if kind < 0.75:
            return chance.choice(_PIECES)
        if kind < 0.92:
            points = (chance.randrange(chance.choice(_PLANES)) for _ in range(chance.randint(1, 6)))
            return "".join(chr(point) for point in points if not 0xD800 <= point < 0xE000)
        return chance.choice(_RUNS) * chance.randint(2, chance.choice((10, 100, 1000)))

    return ["".join(piece() for _ in range(chance.randint(0, 14))) for _ in range(count)]


def compared(path: Path, count: int, seed: int) -> Iterator[tuple[str, str]]:
    """(encoder, what came of it) for the ``tokenizer.json`` at ``path``; one row with the reason if it is refused."""
    try:
        added = json.loads(path.read_bytes()).get("added_tokens") or []
        special = sorted((token for token in added if token["special"]), key=lambda token: token["id"])
        names = (special[0]["content"],) if special else ("<|endoftext|>",)
        spec = TokenizerSpec(
            kind="imported", imported=VocabularyFile(file=str(path)), vocab_size=1_000_000, special_tokens=names
        )
        imported = import_tokenizer(spec).tokenizer()
    except (PedigreeError, ValueError) as error:
        yield "", f"refused: {str(error).replace(f'{path}: ', '')}"
        return
    theirs = Tokenizer.from_file(str(path))
    theirs.encode_special_tokens = True
    texts = hostile(count, seed, [token["content"] for token in added])
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / "tokenizer.json"
        imported.save(str(written))
        reference = HFEncoder(load_tokenizer(written))
        yield reference.name, _judged(reference, theirs, texts)
        for kind in (TiktokenEncoder, GigatokenEncoder):
            try:
                yield kind.name, _judged(kind(written, reference), theirs, texts)
            except PedigreeError as error:
                yield kind.name, f"not used: {str(error).replace(f'{written}: ', '')}"


def _judged(encoder: Encoder, theirs: Tokenizer, texts: list[str]) -> str:
    different, first = 0, ""
    for start in range(0, len(texts), _AT_ONCE):
        batch = texts[start : start + _AT_ONCE]
        mine = encoder.encode_batch(batch)
        own = np.split(mine.ids, np.cumsum(mine.lengths)[:-1])
        for text, ids, encoding in zip(
            batch, own, theirs.encode_batch_fast(batch, add_special_tokens=False), strict=True
        ):
            if ids.tolist() != encoding.ids:
                different += 1
                first = first or ascii(text[:60])
    return f"{different} differ, the first {first}" if different else "equal"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("places", nargs="+", type=Path, metavar="FOLDER-OR-FILE")
    parser.add_argument("--texts", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    print(f"{given.texts} texts, seed {given.seed}\n\n| file | encoder | ids |\n|---|---|---|")
    for place in given.places:
        paths = sorted(place.rglob("tokenizer.json")) if place.is_dir() else [place]
        for path in paths:
            name = path.relative_to(place) if place.is_dir() else Path(path.name)
            for encoder, found in compared(path, given.texts, given.seed):
                told = found.replace("|", "\\|").replace("\n", " ")
                print(f"| {name} | {encoder} | {told} |", flush=True)


if __name__ == "__main__":
    main()
