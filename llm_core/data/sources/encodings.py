"""Finds the encoding of a page: from its bytes, then from labels as browsers understand them, then from statistics.

A byte-order mark decides, or a first ``<`` in two bytes. Bytes that are valid UTF-8 are UTF-8, whatever a label says:
text in other encodings is hardly ever valid UTF-8. The last character may be cut off. A label has the meaning of the
WHATWG Encoding Standard (``gb2312`` is GB 18030, ``latin1`` is Windows-1252); the server's label goes before the page's
own. A label that contradicts the bytes is used only if statistics find nothing better.
"""

import codecs
import re

_DECLARED = re.compile(rb"""<meta[^>]{0,200}?charset\s*=\s*["']?\s*([A-Za-z0-9_:.-]{1,40})""", re.IGNORECASE)
_DECLARED_IN_XML = re.compile(
    rb"""^\s*<\?xml[^>]{0,100}?encoding\s*=\s*["']([A-Za-z0-9_:.-]{1,40})["']""", re.IGNORECASE
)
_DECLARED_WITHIN = 1024
_MARKS = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
_FIRST = {b"<\0": "utf-16-le", b"\0<": "utf-16-be"}
"""The first bytes of a page in UTF-16 without a byte-order mark."""
_COMMENT = re.compile(rb"<!--.*?(?:-->|\Z)", re.DOTALL)
_UTF_8 = "utf-8"
_LAST_RESORT = "cp1252"
# A script up to the next tag of its kind, or a tag. The time is linear in the size of the page.
_TAG = re.compile(rb"<(?:script|style)\b[^<]*(?:<(?!/?(?:script|style)\b)[^<]*)*|<[^<>]*>", re.IGNORECASE)
_LOOKED_AT = 1 << 16
_ENOUGH = 12
"""The least number of bytes above ASCII for statistics."""
_AS_GOOD = 0.01
_WESTERN = ("cp1252",)
_CENTRAL = ("cp1250", "iso8859_2")
_USUAL = {
    "Turkish": ("cp1254",),
    **dict.fromkeys(("Polish", "Czech", "Slovak", "Hungarian", "Croatian", "Slovene", "Romanian"), _CENTRAL),
}
"""Language → its encodings on the web. Many single-byte encodings of Latin letters look alike."""
_CONTROLS = "pedigree_c1"
_STATEFUL = {"iso2022": re.compile(rb"\x1b"), "hz": re.compile(rb"~\{"), "utf-16": re.compile(rb"[\0-\x08\x0e-\x1f]")}
"""Encodings whose bytes may all be ASCII → a pattern that text in them contains. Without a match, a label is wrong."""
_ISO_2022_JP = (b"\x1b$B", b"\x1b$@")

_MEANT = {
    "ascii": "cp1252",
    "iso8859-1": "cp1252",
    "iso8859-9": "cp1254",
    "iso8859-11": "cp874",
    "tis-620": "cp874",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "big5": "big5hkscs",
    "shift_jis": "cp932",
    "euc_kr": "cp949",
    "utf-16": "utf-16-le",
}
"""Python's name of a label's encoding → the encoding that browsers use for it."""

_LABELS = {
    "x-gbk": "gb18030",
    "x-sjis": "cp932",
    "windows-31j": "cp932",
    "ms_kanji": "cp932",
    "x-euc-jp": "euc_jp",
    "x-x-big5": "big5hkscs",
    "cn-big5": "big5hkscs",
    "windows-949": "cp949",
    "ks_c_5601-1989": "cp949",
    "ksc_5601": "cp949",
    "dos-874": "cp874",
    "windows-874": "cp874",
    "x-mac-roman": "mac_roman",
    "macintosh": "mac_roman",
    "x-mac-cyrillic": "mac_cyrillic",
    "x-mac-ukrainian": "mac_cyrillic",
    "iso-8859-8-i": "iso8859-8",
    "iso-8859-8-e": "iso8859-8",
    "logical": "iso8859-8",
    "visual": "iso8859-8",
    "unicode-1-1-utf-8": "utf-8",
    "x-unicode20utf8": "utf-8",
    "unicode11utf8": "utf-8",
    "unicode20utf8": "utf-8",
    **dict.fromkeys(("unicode", "csunicode", "unicodefeff", "ucs-2", "iso-10646-ucs-2"), "utf-16-le"),
    "unicodefffe": "utf-16-be",
    **{f"iso8859{number}": f"iso8859-{number}" for number in range(1, 17)},
    **dict.fromkeys(("iso-8859-6-e", "iso-8859-6-i", "csiso88596e", "csiso88596i"), "iso8859-6"),
    "sun_eu_greek": "iso8859-7",
    "csiso88598e": "iso8859-8",
    "csiso88598i": "iso8859-8",
    "csisolatin9": "iso8859-15",
    "koi": "koi8-r",
    "koi8": "koi8-r",
    "koi8-ru": "koi8-u",
    "mac": "mac_roman",
    "csmacintosh": "mac_roman",
    **dict.fromkeys(("csgb2312", "gb_2312", "gb_2312-80"), "gb18030"),
    "cseucpkdfmtjapanese": "euc_jp",
    **dict.fromkeys(("cseuckr", "csksc56011987", "iso-ir-149"), "cp949"),
    **{f"x-cp125{number}": f"cp125{number}" for number in range(9)},
}
"""Labels of the standard that Python does not know."""

_NO_WEB = {"idna", "punycode", "unicode_escape", "raw_unicode_escape", "utf-7", "utf-32", "utf-32-le", "utf-32-be"}
_MOST_BAD = 0.001
"""The largest share of invalid bytes in a page that counts as UTF-8 (a cut character, a stray byte)."""
_MORE = 10
"""Without a label, a page with invalid bytes is UTF-8 if it has more valid characters above ASCII per invalid byte."""


def decoded(content: bytes, charset: str | None = None) -> str:
    """A page as text. ``charset``: the server's label. Undecodable bytes become U+FFFD, as in a browser."""
    for mark, marked in _MARKS.items():
        if content.startswith(mark):
            return content[len(mark) :].decode(marked, errors="replace")
    if any(mark in content for mark in _ISO_2022_JP) and (text := _strictly(content, "iso2022_jp")) is not None:
        return text
    if content[:2] in _FIRST:
        return content.decode(_FIRST[content[:2]], errors="replace")
    labels = [label for label in (_known(charset), _by_page(content)) if label and not _contradicted(label, content)]
    if not any(label.startswith(tuple(_STATEFUL)) for label in labels) and (text := _as_utf8(content)) is not None:
        return text
    for label in labels:
        text = _strictly(content, label)
        if text is not None:
            return text
    text = content.decode(_UTF_8, errors="replace")
    bad = text.count("\ufffd")
    if bad <= max(1, _MOST_BAD * len(content)) and (_UTF_8 in labels or _is_mostly_utf8(text, bad)):
        return text
    guess = _guessed(content)
    return content.decode(guess or next(iter(labels), _LAST_RESORT), errors="replace")


def _contradicted(label: str, content: bytes) -> bool:
    """Whether ``content`` lacks the bytes that text in the encoding ``label`` contains."""
    return any(label.startswith(name) and not mark.search(content) for name, mark in _STATEFUL.items())


def _as_utf8(content: bytes) -> str | None:
    """The text if it is valid UTF-8, else None. If it has other characters than ASCII, the last one may be cut off."""
    decoder = codecs.getincrementaldecoder(_UTF_8)()
    try:
        text = decoder.decode(content)
    except UnicodeDecodeError:
        return None
    if not decoder.getstate()[0]:
        return text
    return None if text.isascii() else text + "\ufffd"


def _is_mostly_utf8(text: str, bad: int) -> bool:
    """Whether there are more than ``_MORE`` valid characters above ASCII per undecodable one."""
    return len(text) - len(text.encode("ascii", errors="ignore")) > _MORE * bad


def _by_page(content: bytes) -> str | None:
    start = _COMMENT.sub(b"", content[:_DECLARED_WITHIN])
    declared = _DECLARED.search(start) or _DECLARED_IN_XML.search(start)
    known = _known(declared[1].decode("ascii")) if declared else None
    # A declaration that is readable as ASCII is not in UTF-16.
    return _UTF_8 if known and known.startswith("utf-16") else known


def _known(label: str | None) -> str | None:
    """Python's name of the encoding that browsers use for ``label``; None if there is none."""
    label = (label or "").strip().lower()
    label = _LABELS.get(label, label)
    try:
        b"a".decode(label, errors="replace")  # some codecs do not produce text
        name = codecs.lookup(label).name
    except (LookupError, ValueError):
        return None
    return None if name.replace("-", "_") in {no.replace("-", "_") for no in _NO_WEB} else _MEANT.get(name, name)


def _strictly(content: bytes, encoding: str) -> str | None:
    try:
        return content.decode(encoding, errors=_CONTROLS if encoding.startswith("cp125") else "strict")
    except UnicodeDecodeError:
        return None


def _as_controls(error: UnicodeError) -> tuple[str, int]:
    """Error handler: undefined bytes 0x80 to 0x9F of a Windows code page are control characters, as in a browser."""
    assert isinstance(error, UnicodeDecodeError)
    piece = error.object[error.start : error.end]
    if not all(0x80 <= byte < 0xA0 for byte in piece):
        raise error
    return "".join(map(chr, piece)), error.end


codecs.register_error(_CONTROLS, _as_controls)


def _guessed(content: bytes) -> str | None:
    """The guess of charset-normalizer, if there are enough bytes above ASCII; among ties, the usual encoding."""
    from charset_normalizer import from_bytes

    text = _TAG.sub(b" ", content[:_LOOKED_AT])
    if sum(byte >= 0x80 for byte in text) < _ENOUGH:
        return None
    matches = list(from_bytes(text))
    if not matches:
        return None
    equals = {match.encoding for match in matches if match.chaos <= matches[0].chaos + _AS_GOOD}
    usual = next((name for name in _USUAL.get(matches[0].language, _WESTERN) if name in equals), matches[0].encoding)
    return _MEANT.get(usual, usual)
