"""Texts on which encoders differ if they differ anywhere, made anew by every test."""

import random

from hypothesis import strategies as st

PIECES = [
    *("a", "B", "ab", "the", " of", "ing", "é", "e\u0301", "ß", "ẞ", "ſ", "K", "İ", "ı", "ǅ", "ﬁ"),
    *("'s", "'S", "'ſ", "'LL", "'ll", "'re", "'Ve", "'d", "'m", "'T", "'", '"', "’s"),
    *("1", "12", "345", "6789", "٣", "Ⅷ", "²", "½", "१२"),
    *(" ", "  ", "\t", "\n", "\r", "\r\n", "\x0b", "\x0c", "\x1c", "\x85", "\u00a0", "\u2003", "\u2028", "\u3000"),
    *("\u180e", "\u200b", "\u200c", "\u200d", "\u200f", "\u202e", "\u2060", "\ufeff", "\ufffd", "\ufffe", "\uffff"),
    *(".", "...", "--", "=", "_", "#", "/", "\\", "<p>", "{", "\x00", "\x1b", "\x7f", "\x9f"),
    *("<|endoftext|>", "<|", "|>", "<|unk|>", "<|ENDOFTEXT|>", "<|endoftext", "endoftext|>"),
    *("👩", "👩\u200d💻", "\U0001f1e9\U0001f1ea", "🏳\ufe0f\u200d🌈", "1\ufe0f\u20e3", "👍🏽"),
    *(
        "文",
        "字",
        "漢字",
        "あ",
        "ア",
        "한",
        "글",
        "א",
        "שלום",
        "ا",
        "لُ",
        "हि",
        "न्दी",
        "ไท",
        "ย",
        "ខ្មែ",
        "မြ",
        "ქ",
        "አ",
        "Ж",
        "Ω",
        "ἀ",
    ),
    *("\u0301", "\u0300\u0323", "\u064b", "\u0600", "\u0e33", "\u1160", "\U00010400", "\U0001d400", "\U000e0041"),
    *("\ud7ff", "\ue000", "\uf8ff", "\U0010ffff", "\U000f0000", "\u0378", "\U0001fbff"),
    *("\u088f", "\u0c5c", "\ua7ce", "\U00010940", "\U000323b0", "\U00016ff4", "\U00011de1", "\u1c89", "\U00010d4a"),
]

RUNS = ["a", " ", "\n", "-", "=-", "\u0301", "文", "7", "👩\u200d", "\r\n", "\t ", "A", "\u00a0", "ab"]


def hostile_texts() -> st.SearchStrategy[str]:
    """Pieces in any order, any characters, and long runs of one thing."""
    run = st.builds(lambda piece, count: piece * count, st.sampled_from(RUNS), st.integers(2, 400))
    any_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
    return st.lists(st.one_of(st.sampled_from(PIECES), any_text, run), max_size=14).map("".join)


def hostile_sample(count: int, seed: int) -> list[str]:
    """``count`` texts of the same sort, from a seed; characters of all planes among them."""
    chance = random.Random(seed)

    def piece() -> str:
        kind = chance.random()
        if kind < 0.75:
            return chance.choice(PIECES)
        if kind < 0.9:
            points = (chance.choice((0x250, 0x3000, 0x20000, 0x110000)) for _ in range(chance.randint(1, 6)))
            return "".join(chr(chance.randrange(limit)) for limit in points).encode("utf-8", "replace").decode()
        return chance.choice(RUNS) * chance.randint(2, chance.choice((10, 100, 1000)))

    return ["".join(piece() for _ in range(chance.randint(0, 12))) for _ in range(count)]
