"""Conditions under which another encoder gives the same ids as HF tokenizers."""

import numpy as np
from tokenizers import Tokenizer, models

from llm_core.tokens.byte_level import ByteLevelBPE, entry_name
from llm_core.tokens.patterns import PATTERNS


def why_only_hf(bpe: ByteLevelBPE) -> str | None:
    """Why an encoder that knows only our patterns, entries and merges may give other ids; None if it can't."""
    if bpe.pattern not in PATTERNS.values():
        return "cuts text by a regular expression that other encoders may read in another way"
    if bpe.before:
        return "cuts text in several steps"
    if bpe.form:
        return "normalises texts first"
    if bpe.ordinary:
        return "has added tokens that are found in any text"
    if any(bytes([byte]) not in bpe.vocab for byte in range(256)):
        return "has no entry for some bytes"
    return None


def why_not_by_rank(bpe: ByteLevelBPE) -> str | None:
    """Why merging by the order of ids may differ from merging by the list of merges; None if it can't.

    An encoder that knows only entries and ids (tiktoken) works so: a piece that is an entry becomes that entry. In any
    other piece it merges, again and again, the two neighbours whose bytes together are the entry with the lowest id.
    This gives the same ids as the list of merges if

    1. along the list of merges, the ids of the merged entries ascend, and every byte is an entry; and
    2. merging the bytes of an entry by the list gives that one entry. (If whole pieces become entries, three or more
       entries are allowed as well: no merge then makes it, and only a whole piece can be it.)

    Proof: let x, y be neighbours in a piece whose bytes together are an entry e. No merge so far crossed the outer
    borders of x and y. So merging the bytes of e alone passes through [x, y], too. By (2) it continues to [e]: the
    merge of x and y is in the list, and by (1) its place there is that of e's id. So both ways choose the same
    neighbours at each step.
    """
    reason = why_only_hf(bpe)
    if reason is not None:
        return reason
    made = [bpe.vocab.get(left + right, -1) for left, right in bpe.merges]
    if any(first > second for first, second in zip([0, *made], made, strict=False)):
        return "has merges that do not ascend in id"
    names = [entry_name(entry) for entry in bpe.vocab]
    model = models.BPE(
        {name: bpe.vocab[entry] for name, entry in zip(names, bpe.vocab, strict=True)},
        [(entry_name(left), entry_name(right)) for left, right in bpe.merges],
    )
    merged = Tokenizer(model).encode_batch_fast(names, add_special_tokens=False)
    for entry, number, encoding in zip(bpe.vocab, bpe.vocab.values(), merged, strict=True):
        if encoding.ids != [number] and not (bpe.whole_pieces and len(encoding.ids) > 2):
            return f"has an entry, {entry!r}, that its merges do not lead to"
    return None


# Letters and digits that are new in Unicode 17. gigatoken knows them; the regex engines of the other encoders do not.
_DISPUTED = (
    (0x88F, 0x88F),
    (0xC5C, 0xC5C),
    (0xCDC, 0xCDC),
    (0xA7CE, 0xA7CF),
    (0xA7D2, 0xA7D2),
    (0xA7D4, 0xA7D4),
    (0xA7F1, 0xA7F1),
    (0x10940, 0x10959),
    (0x10EC5, 0x10EC7),
    (0x11DB0, 0x11DDB),
    (0x11DE0, 0x11DE9),
    (0x16EA0, 0x16EB8),
    (0x16EBB, 0x16ED3),
    (0x16FF2, 0x16FF6),
    (0x187F8, 0x187FF),
    (0x18D09, 0x18D1E),
    (0x18D80, 0x18DF2),
    (0x1E6C0, 0x1E6DE),
    (0x1E6E0, 0x1E6E2),
    (0x1E6E4, 0x1E6E5),
    (0x1E6E7, 0x1E6ED),
    (0x1E6F0, 0x1E6F4),
    (0x1E6FE, 0x1E6FF),
    (0x2B73A, 0x2B73F),
    (0x2CEA2, 0x2CEAD),
    (0x323B0, 0x33479),
)
_STARTS, _ENDS = (np.array(column, dtype=np.uint32) for column in zip(*_DISPUTED, strict=True))

_AT_ONCE = 1 << 20  # characters


def has_disputed(text: str) -> bool:
    """Whether ``text`` has a character that regex engines with different Unicode versions classify differently."""
    if text.isascii():
        return False
    for start in range(0, len(text), _AT_ONCE):
        points = np.frombuffer(text[start : start + _AT_ONCE].encode("utf-32-le"), dtype="<u4")
        points = points[points >= _STARTS[0]]
        ranges = np.searchsorted(_STARTS, points, side="right") - 1
        if (points <= _ENDS[ranges]).any():
            return True
    return False


# Texts on which encoders that are not the same are most likely to differ.
HOSTILE = (
    "",
    " ",
    "\n",
    "a\u0301\u0323e\u0308\u0301 \u0301\u0301 \u200d\u0301",
    "שלום עולם \u202eabc\u202c مرحبا\u064b\u0651 ١٢٣٤٥",
    "\ud7ff\ue000\uffff\U0010ffff\ufffd\ufeff",
    "<|endoftext|> a<|endoftext|><|unk|> <|ENDOFTEXT|> <|endoftext",
    " " * 700 + "x" + "\n" * 700 + " \n \n\t\r\n\r\r \u00a0\u3000\u2028\u0085\u180e\u200b x  ",
    "a" * 3000 + "." * 3000 + "=-" * 900 + "\u6587" * 900,
    "👩\u200d💻👨\u200d👩\u200d👧\U0001f1e9\U0001f1ea 🏳\ufe0f\u200d🌈 1\ufe0f\u20e3",
    "0 12 345 6789 01234567890123456789 ١٢٣٤ ⅧⅫ ²³ ½ 1,234.56",
    "it's IT'S It'LL we'Ve you'RE i'd 'ſ x'ſ K'S don't 'T ''s'' l'été",
    "Ελληνικά Русский हिन्दी ไทย 日本語 한국어 ქართული አማርኛ မြန်မာ 𐐀𐐨 𝒜𝓑 ﬁ ẞß ǅ İıK",
    "".join(map(chr, range(0x250))),
    "\u1c89\ua7cb\ua7da \U00010d4a\U00010d40\U00016d43 \U00011f50\U0001e4d0 \U00031350\U000323af \U00011240 \u088e",
    "https://a.b/c?d=%20&e=f#g <p class=\"x\">{'k': [1, 2]}</p> \\n\\u0041 \x00\x01\x1f\x7f\x80\x9f",
)
